"""The data contracts, as files; `hubbleclip.contracts` reads them."""
