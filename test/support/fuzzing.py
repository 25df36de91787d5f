# SPDX-License-Identifier: Apache-2.0
"""Seeded fuzzing: damaged inputs for one boundary, and the laws that hold for each of them.

A `FuzzTarget` has well-formed inputs and a consumer. `FuzzTarget.run(seed, count)` damages the inputs, passes
each to the consumer and checks that

- it returns, or raises a TalkerError whose text is one sentence on one line; anything else is a finding;
- it takes at most `max_cpu_s` of processor time, which a timer enforces;
- well-formed input still works: every `_GOOD_PERIOD` inputs the undamaged seeds are consumed;
- the process neither grows, nor needs more memory for any input than `max_peak_bytes`.

Input number `index` of a seed depends on (seed, index) alone, so that a finding is reproduced by
`FuzzTarget.run(seed, 1, first=index)`. Its bytes are saved beside, and its report names them.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeAlias

import numpy as np

from streamingtalker_ros.errors import TalkerError, one_line

Consume: TypeAlias = Callable[[bytes, np.random.Generator], object]
"""Passes one input to the boundary under test; its generator makes what is not in the bytes."""

Mutate: TypeAlias = Callable[[bytes, Sequence[bytes], np.random.Generator], bytes]
"""Damages one of several well-formed inputs."""

MAX_CPU_S: Final = 2.0
MAX_GROWTH_BYTES: Final = 50e6
MAX_PEAK_BYTES: Final = 300e6
_MAX_WALL_S: Final = 60.0  # a call that waits instead of computing
_MAX_SENTENCE: Final = 1200  # characters
_GOOD_PERIOD: Final = 200
_MIN_WARM_UP: Final = 50  # inputs before the memory is measured
_MAX_FINDINGS: Final = 12
FINDINGS_FOLDER: Final = Path(
    os.environ.get("FUZZ_FINDINGS") or Path(tempfile.gettempdir()) / "fuzz_findings"
)

TEXT_TOKENS: Final = tuple(
    token.encode("utf-8", "surrogatepass")
    for token in (
        *(
            "0",
            "-1",
            "1e999",
            "-1e308",
            "1e-320",
            "NaN",
            "inf",
            ".nan",
            "99999999999999999999",
            "1" + 400 * "0",
        ),
        *(
            "null",
            "~",
            "true",
            "[]",
            "{}",
            '""',
            '"a"',
            "'",
            '"',
            "[[[[[[[[",
            "{a: {a: {a: ",
            "[" * 300,
            "<<: ",
        ),
        *(
            "*a",
            "&a ",
            "!!python/object:os.system ",
            "!!binary ",
            "!!set ",
            "? ",
            "- ",
            "--- ",
            "...\n",
            "%YAML 9",
        ),
        *(
            "2001-99-99",
            "12:61:99",
            "0x",
            "0o8",
            "1_0",
            "=",
            "|",
            ">",
            "#",
            "\\",
            "\\u0000",
            "\\ud800",
            ",",
            ";",
        ),
        *(
            ":",
            ": ",
            "\n",
            "\r",
            "\r\n",
            "\t",
            " ",
            "\x00",
            "\x1b[2J",
            "\u2028",
            "\ufeff",
            "\x85",
            "\u0660",
            "𝟙",
        ),
    )
)
BINARY_TOKENS: Final = (
    *(bytes(size) for size in (1, 2, 4, 8, 16)),
    *(size * b"\xff" for size in (1, 2, 3, 4, 8)),
    *(b"\x7f", b"\x80", b"\xff\xfe", b"\x00\x00\x80\x7f", b"\x00\x00\xc0\x7f", b"\xff\xff\x7f\x7f"),
)
_NUMBERS: Final = (0, 1, 2, 3, 7, 16, 127, 128, 255, 256, 4095, 65535, 65536, 1 << 20, (1 << 24) - 1)
_LARGE_NUMBERS: Final = ((1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1)


class InputHangs(BaseException):
    """One input took longer than allowed. No `except Exception` of the code under test may catch it."""


@dataclass
class Finding:
    """An input for which a law does not hold.

    Attributes:
        seed: Seed of the run.
        index: Number of the input.
        law: What does not hold, and the traceback of an exception.
        saved: File that holds the input.
    """

    seed: int
    index: int
    law: str
    saved: Path


@dataclass
class FuzzReport:
    """What a run found.

    Attributes:
        name: Name of the target.
        inputs: Number of damaged inputs.
        accepted: How many of them were read.
        max_cpu_s: Most processor time of one input.
        seconds: Duration of the run.
        growth_bytes: Growth of the resident memory from the end of the warm-up to the end; 0 where unknown.
        peak_bytes: Most resident memory since the warm-up above that at its end; 0 where unknown.
        findings: Violated laws, one for each place in the code.
    """

    name: str
    inputs: int = 0
    accepted: int = 0
    max_cpu_s: float = 0.0
    seconds: float = 0.0
    growth_bytes: float = 0.0
    peak_bytes: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    def summary(self) -> str:
        """Return the numbers on one line."""
        return (
            f"{self.name}: {self.inputs} inputs in {self.seconds:.0f} s, {self.accepted} read, "
            f"at most {self.max_cpu_s:.2f} s of processor time, memory {self.growth_bytes / 1e6:+.1f} MB "
            f"(peak {self.peak_bytes / 1e6:+.0f} MB), {len(self.findings)} findings"
        )

    def check(self) -> None:
        """Raise AssertionError with all findings, if there are any."""
        texts = [
            f"--- input {finding.index} of seed {finding.seed}, saved as {finding.saved}:\n{finding.law}"
            for finding in self.findings
        ]
        assert not self.findings, "\n".join([self.summary(), *texts])


@dataclass(frozen=True)
class FuzzTarget:
    """A boundary, its well-formed inputs, and how they are damaged.

    Attributes:
        name: Name of the target.
        make_seeds: Returns the well-formed inputs; they are made once for each run.
        open: Returns the consumer; its argument is an empty folder for files of its own.
        mutate: Damages an input.
        check_good: Raises AssertionError unless well-formed input works; by default the seeds are consumed.
        max_cpu_s: Processor time of one input at most.
        max_peak_bytes: Memory of one input at most.
    """

    name: str
    make_seeds: Callable[[], Sequence[bytes]]
    open: Callable[[Path], Consume]
    mutate: Mutate
    check_good: Callable[[], object] | None = None
    max_cpu_s: float = MAX_CPU_S
    max_peak_bytes: float = MAX_PEAK_BYTES

    def run(
        self, seed: int, count: int | None = None, seconds: float | None = None, first: int = 0
    ) -> FuzzReport:
        """Consume damaged inputs.

        Args:
            seed: Of the inputs.
            count: Number of inputs, None for as many as `seconds` allow.
            seconds: Duration after which the run ends, None for no limit; at least 20 inputs are consumed.
            first: Number of the first input.

        Returns:
            The report; `FuzzReport.check` raises if there are findings.
        """
        assert count is not None or seconds is not None
        with tempfile.TemporaryDirectory() as folder, _silent_log(), _Watchdog(self.max_cpu_s) as watchdog:
            run = _Run(self, seed, Path(folder), watchdog)
            run.check_good(-1)
            start, end = time.monotonic(), first + (sys.maxsize if count is None else count)
            warm_up = max(_MIN_WARM_UP, 0 if count is None else count // 20)
            memory, base = _Memory(), 0.0
            for index in range(first, end):
                if seconds is not None and index >= first + 20 and time.monotonic() - start > seconds:
                    break
                if len(run.report.findings) >= _MAX_FINDINGS:
                    break
                if index - first == warm_up:
                    base = memory.begin()
                run.consume_one(index)
                if index % _GOOD_PERIOD == _GOOD_PERIOD - 1:
                    run.check_good(index)
            run.check_good(-2)
            report = run.report
            report.seconds = time.monotonic() - start
            if base:
                report.growth_bytes, report.peak_bytes = memory.measure(base)
                for value, limit, name in (
                    (report.growth_bytes, MAX_GROWTH_BYTES, "grew"),
                    (report.peak_bytes, self.max_peak_bytes, "needed"),
                ):
                    if value > limit:
                        run.add(
                            -3, b"", f"the process {name} {value / 1e6:.0f} MB: {limit / 1e6:.0f} are allowed"
                        )
            return report


class _Run:
    def __init__(self, target: FuzzTarget, seed: int, folder: Path, watchdog: _Watchdog) -> None:
        self.report = FuzzReport(target.name)
        self._target, self._seed, self._watchdog = target, seed, watchdog
        self._seeds = list(target.make_seeds())
        self._consume = target.open(folder)
        self._places: set[tuple[Any, ...]] = set()

    def consume_one(self, index: int) -> None:
        random = np.random.default_rng((self._seed, index))
        data = self._target.mutate(self._seeds[int(random.integers(len(self._seeds)))], self._seeds, random)
        self.report.inputs += 1
        start = time.process_time()
        try:
            with self._watchdog.limit():
                self._consume(data, random)
            self.report.accepted += 1
        except TalkerError as error:
            text = str(error)
            if not text.strip() or text != one_line(text) or len(text) > _MAX_SENTENCE:
                self.add(index, data, f"the error is not one sentence: {text[:3000]!r}", error)
        except (Exception, InputHangs) as error:
            self.add(index, data, "".join(traceback.format_exception(error, limit=-14)), error)
        used = time.process_time() - start
        self.report.max_cpu_s = max(self.report.max_cpu_s, used)
        if used > self._target.max_cpu_s:
            self.add(
                index,
                data,
                f"the input took {used:.1f} s of processor time",
                place=("slow", len(data) // 4096),
            )

    def check_good(self, index: int) -> None:
        try:
            if self._target.check_good is not None:
                self._target.check_good()
            else:
                for data in self._seeds:
                    self._consume(data, np.random.default_rng(0))
        except Exception as error:
            text = "".join(traceback.format_exception(error, limit=-14))
            self.add(index, b"", f"well-formed input is not accepted:\n{text}", error)

    def add(
        self,
        index: int,
        data: bytes,
        law: str,
        error: BaseException | None = None,
        place: tuple[Any, ...] = (),
    ) -> None:
        if error is not None:
            frames = traceback.extract_tb(error.__traceback__)[-2:]
            place = (type(error), *((frame.filename, frame.lineno) for frame in frames))
        if place and place in self._places:
            return
        self._places.add(place)
        FINDINGS_FOLDER.mkdir(parents=True, exist_ok=True)
        saved = FINDINGS_FOLDER / f"{self._target.name.replace(' ', '_')}-{self._seed}-{index}.bin"
        saved.write_bytes(data)
        self.report.findings.append(Finding(self._seed, index, law, saved))


class _Watchdog:
    """Raises `InputHangs` in the main thread when one input computes or waits too long."""

    def __init__(self, max_cpu_s: float) -> None:
        self._max_cpu_s = 2 * max_cpu_s  # the code under test may be in a library that cannot be interrupted
        self._wall_end: float | None = None
        self._ended = threading.Event()
        self._is_main = threading.current_thread() is threading.main_thread()
        self._previous: Any = None

    def __enter__(self) -> _Watchdog:
        if self._is_main:
            self._previous = signal.signal(signal.SIGPROF, self._on_signal)
            threading.Thread(target=self._watch, daemon=True, name="fuzz watchdog").start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_main:
            self._ended.set()
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, self._previous)

    @contextlib.contextmanager
    def limit(self) -> Iterator[None]:
        """Limit what runs inside."""
        if not self._is_main:
            yield
            return
        self._wall_end = time.monotonic() + _MAX_WALL_S
        signal.setitimer(signal.ITIMER_PROF, self._max_cpu_s, self._max_cpu_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._wall_end = None

    def _watch(self) -> None:
        while not self._ended.wait(1.0):
            end = self._wall_end
            if end is not None and time.monotonic() > end:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGPROF)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._wall_end is not None:
            raise InputHangs("one input takes too long")


class _Memory:
    """Resident memory of this process, by /proc; 0 where there is none."""

    def begin(self) -> float:
        self._release()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        return self._read("VmRSS")

    def measure(self, base: float) -> tuple[float, float]:
        peak = self._read("VmHWM")
        self._release()
        return self._read("VmRSS") - base, max(0.0, peak - base)

    def _release(self) -> None:
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)

    def _read(self, name: str) -> float:
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
        except OSError:
            return 0.0
        return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0.0)


@contextlib.contextmanager
def _silent_log() -> Iterator[None]:
    """Format the records of the log, as a handler does, and write them nowhere."""
    root = logging.getLogger()
    formatting: list[logging.Handler] = [_FormattingHandler()]
    handlers, root.handlers = root.handlers, formatting
    level = root.level
    root.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # no arithmetic goes wrong unnoticed
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    finally:
        root.handlers = handlers
        root.setLevel(level)


class _FormattingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()


# --------------------------------------------------------------------------------------------------- damage


def mutate_bytes(data: bytes, seeds: Sequence[bytes], random: np.random.Generator) -> bytes:
    """Damage binary data."""
    return _mutate(data, seeds, random, BINARY_TOKENS)


def mutate_text(data: bytes, seeds: Sequence[bytes], random: np.random.Generator) -> bytes:
    """Damage text: tokens of YAML, JSON and CSV in wrong places, other encodings, repeated lines."""
    changed = _mutate(data, seeds, random, TEXT_TOKENS)
    kind = random.random()
    if kind < 0.04:
        encoding = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig")[int(random.integers(4))]
        return changed.decode("latin-1").encode(encoding)
    if kind < 0.12:
        lines = changed.split(b"\n")
        first = int(random.integers(len(lines)))
        count = int(random.integers(1, 4))
        lines[first:first] = lines[first : first + count] * int(random.integers(1, 40))
        return b"\n".join(lines)
    return changed


def _mutate(
    data: bytes, seeds: Sequence[bytes], random: np.random.Generator, tokens: Sequence[bytes]
) -> bytes:
    changed = bytearray(data)
    for _ in range(min(int(random.geometric(0.45)), 12)):
        _MUTATIONS[int(random.integers(len(_MUTATIONS)))](changed, seeds, random, tokens)
    return bytes(changed)


def _position(data: bytearray, random: np.random.Generator) -> int:
    """Return an index: half of them are in the head of the data, where headers are."""
    limit = len(data) if random.random() < 0.5 else min(len(data), 160)
    return int(random.integers(limit + 1))


_Mutation: TypeAlias = Callable[[bytearray, Sequence[bytes], np.random.Generator, Sequence[bytes]], None]


def _flip_bits(
    data: bytearray, seeds: Sequence[bytes], random: np.random.Generator, tokens: Sequence[bytes]
) -> None:
    for _ in range(int(random.geometric(0.2))):
        if at := min(_position(data, random), len(data) - 1) if data else 0:
            data[at] ^= 1 << int(random.integers(8))


def _set_bytes(
    data: bytearray, seeds: Sequence[bytes], random: np.random.Generator, tokens: Sequence[bytes]
) -> None:
    at = _position(data, random)
    size = int(random.integers(1, 9))
    data[at : at + size] = random.bytes(size)


def _truncate(
    data: bytearray, seeds: Sequence[bytes], random: np.random.Generator, tokens: Sequence[bytes]
) -> None:
    if random.random() < 0.4:
        del data[_position(data, random) :]
    elif random.random() < 0.2:
        del data[: _position(data, random)]


def _delete(
    data: bytearray, seeds: Sequence[bytes], random: np.random.Generator, tokens: Sequence[bytes]
) -> None:
    at = _position(data, random)
    del data[at : at + int(random.geometric(0.05))]


def _repeat(
    data: bytearray, seeds: Sequence[bytes], random: np.random.Generator, tokens: Sequence[bytes]
) -> None:
    at, size = _position(data, random), int(random.geometric(0.03))
    data[at:at] = bytes(data[at : at + size]) * int(random.integers(1, 30))


def _splice(
    data: bytearray, seeds: Sequence[bytes], random: np.random.Generator, tokens: Sequence[bytes]
) -> None:
    other = seeds[int(random.integers(len(seeds)))]
    start, at = int(random.integers(len(other) + 1)), _position(data, random)
    if random.random() < 0.3:
        data[at:] = other[start:]
    else:
        size = int(random.geometric(0.01))
        data[at : at + size * int(random.integers(2))] = other[start : start + size]


def _write_token(
    data: bytearray, seeds: Sequence[bytes], random: np.random.Generator, tokens: Sequence[bytes]
) -> None:
    at, token = _position(data, random), tokens[int(random.integers(len(tokens)))]
    data[at : at + int(random.integers(0, len(token) + 1)) * int(random.integers(2))] = token


def _lie_about_size(
    data: bytearray, seeds: Sequence[bytes], random: np.random.Generator, tokens: Sequence[bytes]
) -> None:
    """Overwrite an integer of 1 to 8 bytes, of either byte order, aligned or not."""
    size = (1, 2, 4, 4, 4, 8)[int(random.integers(6))]
    numbers = _NUMBERS if random.random() < 0.5 else _LARGE_NUMBERS
    value = numbers[int(random.integers(len(numbers)))]
    if random.random() < 0.2:
        value = len(data) + int(random.integers(-9, 10))
    at = _position(data, random)
    if random.random() < 0.7:
        at -= at % min(size, 4)
    value %= 1 << 8 * size
    data[at : at + size] = value.to_bytes(size, "little" if random.random() < 0.6 else "big")


_MUTATIONS: Final[tuple[_Mutation, ...]] = (
    *(_flip_bits, _set_bytes, _truncate, _delete, _repeat, _splice, _write_token, _lie_about_size),
    *(_write_token, _lie_about_size),
)

ODD_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, -1e308, 1e-320, float("nan"), float("inf")),
    *(
        10**30,
        -(10**400),
        2**31,
        2**63,
        "",
        "a",
        "0",
        "nan",
        "\x00",
        "é",
        "x" * 300,
        "\ud800",
        "../../x",
        "a\nb",
    ),
    *([], {}, [[]], [None], {"a": 1}, {"": None}, [0] * 5, ["a", 1, None], [[1, 2], [3]], list(range(100))),
)
"""Values of other types and magnitudes than a document expects."""


def mutate_document(document: Any, random: np.random.Generator) -> Any:
    """Return a copy of a document of mappings, lists and scalars in which some values are odd.

    Args:
        document: As a JSON or YAML reader returns it.
        random: Decides.
    """
    changed = copy.deepcopy(document)
    for _ in range(int(random.geometric(0.5))):
        places = list(_places(changed))
        if not places:
            return ODD_VALUES[int(random.integers(len(ODD_VALUES)))]
        holder, key = places[int(random.integers(len(places)))]
        kind = random.random()
        if kind < 0.12:
            del holder[key]
        elif kind < 0.24:
            source, name = places[int(random.integers(len(places)))]
            with contextlib.suppress(KeyError, IndexError):
                holder[key] = copy.deepcopy(source[name])
        elif kind < 0.32 and isinstance(holder, dict):
            odd = ("", "a", "extras", key + "s", key.upper(), "x" * 200)[int(random.integers(6))]
            holder[odd] = holder.pop(key)
        elif kind < 0.45 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
            factor = (-1, 2, 0.5, 1e3, 1e6, 1e12, 1e300)[int(random.integers(7))]
            holder[key] = type(holder[key])(holder[key] * factor) if abs(holder[key]) < 1e6 else factor
        else:
            holder[key] = copy.deepcopy(ODD_VALUES[int(random.integers(len(ODD_VALUES)))])
    return changed


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of every value in a document."""
    if isinstance(document, dict):
        keys: list[Any] = list(document)
    elif isinstance(document, list):
        keys = list(range(min(len(document), 20)))
    else:
        return
    for key in keys:
        yield document, key
        yield from _places(document[key])
