"""STScI's pages and files about proposals, with the irregularities of the real ones."""

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
CATEGORY_WIDTH = 50  # The list truncates longer categories.
# One proposal in this many has the irregularity.
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
    """Decide whether the bulk list has the proposal; the real list lacks some, which have files of their own.

    Parameters
    ----------
    proposal
        Proposal of the archive.

    Returns
    -------
    bool
        False for one proposal in NOT_IN_BULK_EVERY.

    """
    return int(proposal.number) % NOT_IN_BULK_EVERY != 0


def abstracts_cat(proposals: Iterable[SimProposal]) -> str:
    """Write the bulk list of proposals.

    Parameters
    ----------
    proposals
        All proposals of the archive.

    Returns
    -------
    str
        Records between dashed lines, with `{}` instead of `()` and texts wrapped, also at hyphens, as in the real list.

    """
    records = (_record(proposal) for proposal in proposals if is_in_bulk_list(proposal))
    return "".join(f"{SEPARATOR}\n{record}\n" for record in records) + f"{SEPARATOR}\n"


def _record(proposal: SimProposal) -> str:
    """Write one record of the bulk list; some lack the cycle or the category, as in the real list."""
    number = int(proposal.number)
    category = "None" if number % NO_CATEGORY_EVERY == 0 else proposal.category[:CATEGORY_WIDTH]
    cycle = "" if number % NO_CYCLE_EVERY == 0 else str(proposal.cycle)
    # Continuation lines are indented by tabs in the real list.
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
    """Replace parentheses by braces, as the bulk list does."""
    return text.replace("(", "{").replace(")", "}")


def apt_xml(proposal: SimProposal) -> str:
    """Write a program's APT file, reduced to the proposal itself.

    Parameters
    ----------
    proposal
        Proposal of the archive.

    Returns
    -------
    str
        XML.

    """
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
    """Write a JWST programme's APT file.

    Parameters
    ----------
    proposal
        The proposal.

    Returns
    -------
    bytes
        A zip archive with the XML.

    """
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
    """Write a program's web page: title, cycle, PI and status, but no abstract.

    Parameters
    ----------
    proposal
        Proposal of the archive.

    Returns
    -------
    str
        HTML.

    """
    return f"""<!DOCTYPE html>
<html><head><title>Simulated programme {proposal.number} (not real)</title></head>
<body><h1>Simulated HST programme {proposal.number}</h1>
<p><b>Principal Investigator:</b> {html.escape(proposal.pi)}<br></p>
<p><b>Title:</b> {html.escape(proposal.title)}<br>
<b>Cycle:</b> {proposal.cycle}<br>
<b>Program Status:</b> completed<br></p>
</body></html>
"""
