"""Sources and parsers of proposal texts, from STScI and NASA ADS."""
