"""Pages and files about the simulated proposals, with the same format and irregularities as those of STScI."""

from __future__ import annotations

import html
import io
import textwrap
import zipfile
from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from hubbleclip.simulator.observations import SimProposal

SEPARATOR = "-" * 79
WRAP_COLUMNS = 78
CATEGORY_WIDTH = 50  # The bulk list truncates longer categories.
# Each of the next three constants is a number N: one in N proposals has this irregularity.
NO_CYCLE_EVERY = 61
NO_CATEGORY_EVERY = 37
NOT_IN_BULK_EVERY = 41
BULK_PAGE = """<!DOCTYPE html>
<html><head><title>Simulated archive: HST proposal abstracts (not real)</title></head>
<body><h1>Simulated proposal abstracts</h1>
<p>Made by hubbleclip; none of these proposals exists. In one file: <a href="abstracts.cat">abstracts.cat</a>.</p>
</body></html>
"""


def is_in_bulk_list(proposal: SimProposal) -> bool:
    """Decide whether the bulk list contains a proposal. The real list lacks some proposals that have an APT file."""
    return int(proposal.number) % NOT_IN_BULK_EVERY != 0


def abstracts_cat(proposals: Iterable[SimProposal]) -> str:
    """Write the bulk list of proposals."""
    records = (_record(proposal) for proposal in proposals if is_in_bulk_list(proposal))
    return "".join(f"{SEPARATOR}\n{record}\n" for record in records) + f"{SEPARATOR}\n"


def _record(proposal: SimProposal) -> str:
    """Write one record of the bulk list. As in the real list, some records lack the cycle or the category."""
    number = int(proposal.number)
    category = "None" if number % NO_CATEGORY_EVERY == 0 else proposal.category[:CATEGORY_WIDTH]
    cycle = "" if number % NO_CYCLE_EVERY == 0 else str(proposal.cycle)
    # The real list indents continuation lines with tabs.
    title = textwrap.fill(_replace_parentheses(proposal.title), 64, initial_indent="", subsequent_indent="\t\t    ")
    keys = [
        f"Prop. Type: {proposal.proposal_type}",
        f"Category:   {category}".rstrip(),
        f"ID:         {number}",
        f"Cycle:      {cycle}".rstrip(),
        f"Title:\t    {title}",
        f"PI:         {proposal.pi}",
    ]
    return "\n".join([*keys, "", textwrap.fill(_replace_parentheses(proposal.abstract), WRAP_COLUMNS), ""])


def _replace_parentheses(text: str) -> str:
    """Replace parentheses with braces, because the real bulk list has braces instead of parentheses."""
    return text.replace("(", "{").replace(")", "}")


def apt_xml(proposal: SimProposal) -> str:
    """Write the APT file of an HST programme, reduced to the information about the proposal."""
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
    """Write the APT file of a JWST programme."""
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
    """Write the web page of a programme, which shows title, cycle, PI and status, but no abstract."""
    return f"""<!DOCTYPE html>
<html><head><title>Simulated programme {proposal.number} (not real)</title></head>
<body><h1>Simulated HST programme {proposal.number}</h1>
<p><b>Principal Investigator:</b> {html.escape(proposal.pi)}<br></p>
<p><b>Title:</b> {html.escape(proposal.title)}<br>
<b>Cycle:</b> {proposal.cycle}<br>
<b>Program Status:</b> completed<br></p>
</body></html>
"""
