"""STScI's pages about proposals as the simulated archive serves them, with the habits of the real ones."""

from __future__ import annotations

import html
import io
import textwrap
import zipfile
from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from hubbleclip.simulator.visits import SimProposal

RULE = "-" * 79
WRAP = 78
CATEGORY_WIDTH = 50
NO_CYCLE_EVERY = 61
NO_CATEGORY_EVERY = 37
NOT_IN_BULK_EVERY = 41
BULK_PAGE = """<!DOCTYPE html>
<html><head><title>Simulated archive: HST proposal abstracts (not real)</title></head>
<body><h1>Simulated proposal abstracts</h1>
<p>Made by hubbleclip; none of these proposals exists. In one file: <a href="abstracts.cat">abstracts.cat</a>.</p>
</body></html>
"""


def in_bulk(proposal: SimProposal) -> bool:
    """Whether the bulk list has the proposal; the real one lacks a few, which have files of their own."""
    return int(proposal.number) % NOT_IN_BULK_EVERY != 0


def abstracts_cat(proposals: Iterable[SimProposal]) -> str:
    """The bulk list: a record between dashed lines each, with `{}` for `()` and texts wrapped, at hyphens too."""
    records = (_record(proposal) for proposal in proposals if in_bulk(proposal))
    return "".join(f"{RULE}\n{record}\n" for record in records) + f"{RULE}\n"


def _record(proposal: SimProposal) -> str:
    number = int(proposal.number)
    category = "None" if number % NO_CATEGORY_EVERY == 0 else proposal.category[:CATEGORY_WIDTH]
    cycle = "" if number % NO_CYCLE_EVERY == 0 else str(proposal.cycle)
    title = textwrap.fill(_braced(proposal.title), 64, initial_indent="", subsequent_indent="\t\t    ")
    keys = [
        f"Prop. Type: {proposal.proposal_type}",
        f"Category:   {category}".rstrip(),
        f"ID:         {number}",
        f"Cycle:      {cycle}".rstrip(),
        f"Title:\t    {title}",
        f"PI:         {proposal.pi}",
    ]
    return "\n".join([*keys, "", textwrap.fill(_braced(proposal.abstract), WRAP), ""])


def _braced(text: str) -> str:
    return text.replace("(", "{").replace(")", "}")


def apt_xml(proposal: SimProposal) -> str:
    """A programme's APT file, reduced to what tells of the proposal itself."""
    first, _, last = proposal.pi.rpartition(" ")
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<HSTProposal Phase2ID={quoteattr(proposal.number)} Phase="Phase II" AptVersion="Simulated">
   <!--Simulated by hubbleclip: this proposal does not exist.-->
   <ProposalInformation Category={quoteattr(proposal.proposal_type)} Cycle="{proposal.cycle}"
      PureParallelProposal="false" ScientificCategory={quoteattr(proposal.category)} STScIEditNumber="0">
      <Title>{escape(proposal.title)}</Title>
      <Abstract>{escape(proposal.abstract)}</Abstract>
      <PrincipalInvestigator Honorific="Dr." FirstName={quoteattr(first)} LastName={quoteattr(last)} />
   </ProposalInformation>
</HSTProposal>
"""


def apt_archive(proposal: SimProposal) -> bytes:
    """A JWST programme's APT file: a zip archive with the XML."""
    first, _, last = proposal.pi.rpartition(" ")
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<JwstProposal schemaVersion="61" APTVersion="Simulated" xmlns="http://www.stsci.edu/JWST/APT">
   <!--Simulated by hubbleclip: this proposal does not exist.-->
   <ProposalInformation>
      <Title>{escape(proposal.title)}</Title>
      <Abstract>{escape(proposal.abstract)}</Abstract>
      <ProposalID>{int(proposal.number)}</ProposalID>
      <ProposalCategory><{proposal.proposal_type.partition("/")[0]}/></ProposalCategory>
      <ScientificCategory>{escape(proposal.category)}</ScientificCategory>
      <Cycle>{proposal.cycle}</Cycle>
      <PrincipalInvestigator>
         <InvestigatorAddress><FirstName>{escape(first)}</FirstName><LastName>{escape(last)}</LastName></InvestigatorAddress>
      </PrincipalInvestigator>
   </ProposalInformation>
</JwstProposal>
"""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{int(proposal.number)}.xml"), text)
    return packed.getvalue()


def program_page(proposal: SimProposal) -> str:
    """A programme's page: title, cycle, PI and status, but no abstract."""
    return f"""<!DOCTYPE html>
<html><head><title>Simulated programme {proposal.number} (not real)</title></head>
<body><h1>Simulated HST programme {proposal.number}</h1>
<p><b>Principal Investigator:</b> {html.escape(proposal.pi)}<br></p>
<p><b>Title:</b> {html.escape(proposal.title)}<br>
<b>Cycle:</b> {proposal.cycle}<br>
<b>Program Status:</b> completed<br></p>
</body></html>
"""
