"""What a soak has found, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from tools.soak.story import Findings

from support.load import Answer

MIB = 1 << 20


def told(findings: Findings) -> str:
    """All of it."""
    status, seconds = findings.drained
    lines = [f"{findings.versions} versions, {findings.kills} kills; drain: status {status}, {seconds:.2f} s"]
    for client, answers in findings.answers.items():
        lines.append(f"{client}: {dict(Counter(answer.code for answer in answers))}")
        lines += [f"  {phase:6} {_latencies(findings, answers, phase)}" for phase in _phases(findings)]
    answered = sum(a.code == "OK" for answers in findings.answers.values() for a in answers)
    lines.append(f"answered {answered}, counted by the servers before the drain of one {findings.counted}")
    resident = " -> ".join(f"{footprint.resident_bytes / MIB:.0f}" for footprint in findings.footprints)
    files = " -> ".join(str(footprint.files) for footprint in findings.footprints)
    lines.append(f"2 supervisors and 4 workers: resident {resident} MiB, open files {files}")
    lines += [f"BROKEN: {what}" for what in findings.broken] or ["all held"]
    return "\n".join(lines)


def _phases(findings: Findings) -> list[str]:
    return list(dict.fromkeys(name for name, _, _ in findings.phases))


def _latencies(findings: Findings, answers: Sequence[Answer], phase: str) -> str:
    """Of the calls that began in a phase."""
    spans = [(began, ended) for name, began, ended in findings.phases if name == phase]
    took = [
        1e3 * answer.seconds
        for answer in answers
        if answer.code == "OK" and any(began <= answer.began < ended for began, ended in spans)
    ]
    if not took:
        return "no calls"
    middle, high, most = np.percentile(took, (50, 99, 100))
    seconds = sum(ended - began for began, ended in spans)
    times = f"p50 {middle:.1f} ms, p99 {high:.1f} ms, longest {most:.0f} ms"
    return f"{len(took):7} calls in {seconds:4.0f} s, {times}"
