# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker corpus KIND …`: make a training corpus. A kind NAME lives in `cli/corpus_NAME.py`.

Such a module has TEXT (one line of help), `add_arguments(parser)` and `run(args) -> int`.
"""

import importlib

KINDS = (
    "synthetic",
    "speech",
    "espeak",
    "quiet",
    "reanimate",
    "from-video",
    "from-animation",
    "revoice",
    "resize",
)


def add_arguments(parser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for kind in KINDS:
        module = _module(kind)
        sub = kinds.add_parser(
            kind,
            help=module.TEXT,
            description=module.TEXT[0].upper() + module.TEXT[1:] + ".",
            formatter_class=parser.formatter_class,
        )
        module.add_arguments(sub)


def run(args):
    return _module(args.kind).run(args)


def _module(kind):
    return importlib.import_module(f".corpus_{kind.replace('-', '_')}", __package__)
