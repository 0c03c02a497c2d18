"""The stage `captions`: write a summary and search phrases about each distinct abstract."""

from __future__ import annotations

from functools import partial

from hubbleclip.archives.json_lines import read_proposals_file
from hubbleclip.captions.backends import open_backend, writer_name
from hubbleclip.captions.backends.base import Backend, SourceText
from hubbleclip.captions.write import write_summary
from hubbleclip.catalog.pending import pending_captions, to_records
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import AnswerError
from hubbleclip.core.layout import Layout
from hubbleclip.dataset.captions import is_placeholder
from hubbleclip.pipeline.engine.attempts import Batch, Step
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.stage import log, open_stage
from hubbleclip.pipeline.status import caption_line, read_caption_status

ENTITY = "abstract_summary"


def captions(settings: Settings) -> None:
    """Make missing summaries and search phrases of abstracts by the caption backend that the settings select."""
    backend = open_backend(settings.captions)
    writer = writer_name(backend, settings.captions.seed)
    with open_stage("captions", settings) as stage:
        archive = settings.archive
        if archive.proposals_file is not None and archive.folder is None:  # the file's proposals get captions too
            stage.catalog.upsert({"proposal": read_proposals_file(archive.proposals_file, archive.name)})
        sources = to_records(SourceText, pending_captions(stage.catalog, settings.captions, writer))
        step = Step(
            name="write-captions",
            stage="captions",
            entity=ENTITY,
            digest=settings.captions.digest(),
            key="abstract_sha256",
            is_retried=True,
            final_reasons=frozenset({"no_text", "no_object"}),
            connections=settings.captions.connections,
            is_local=True,
        )
        write = partial(write_about, backend=backend, settings=settings, layout=stage.layout)
        run_batches(stage, step, write, sources, total=len(sources))
        log.info("captions: %s", caption_line(read_caption_status(stage.catalog, settings.captions, writer)))


def write_about(source: SourceText, backend: Backend, settings: Settings, layout: Layout) -> Batch:
    """Make the summary and the search phrases of one abstract; AnswerError if the abstract is only a placeholder."""
    if is_placeholder(source.abstract):
        raise AnswerError("no_text", "the text is only a placeholder for an abstract")
    return {"abstract_summary": [write_summary(source, backend, settings.captions.seed, layout)]}
