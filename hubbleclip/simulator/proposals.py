from dataclasses import dataclass
@dataclass
class ProposalText:
    proposal_type: str; category: str; title: str; pi: str; abstract: str
def write_proposal(seed, plan):
    return ProposalText("GO", plan.kind.categories[0], "t", "A. Person", "abs")
