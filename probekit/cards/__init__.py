"""Cards: facts about extractors, tasks and papers, read from YAML and checked."""

from probekit.cards.code import (
    code_file,
    code_identity,
    import_card_module,
    module_error,
)
from probekit.cards.loader import (
    card_folders,
    card_paths,
    load_card,
    load_extractor_card,
    load_paper_card,
    load_task_card,
    load_valid_task_cards,
    read_card,
)
from probekit.cards.schema import (
    Card,
    ExtractorCard,
    Kind,
    PaperCard,
    Parameter,
    Params,
    Protocol,
    Published,
    Stream,
    TaskCard,
    Value,
    WeightsFile,
)

__all__ = [
    "Card",
    "ExtractorCard",
    "Kind",
    "PaperCard",
    "Parameter",
    "Params",
    "Protocol",
    "Published",
    "Stream",
    "TaskCard",
    "Value",
    "WeightsFile",
    "card_folders",
    "card_paths",
    "code_file",
    "code_identity",
    "import_card_module",
    "load_card",
    "load_extractor_card",
    "load_paper_card",
    "load_task_card",
    "load_valid_task_cards",
    "module_error",
    "read_card",
]
