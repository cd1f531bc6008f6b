"""Tables of the first token after reused modules."""

from __future__ import annotations

from functools import partial

from speed.measure import LONGEST, USUAL, BenchRun, Row

REUSE = ((1000, (32,)), (4000, (8, 32, 128)))
LONG_REUSE = (8, 32)
GROWTH = (500, 1000, 2000, 4000, 6000, 8000)
MODULES = (1, 5, 10, 20, 40)


def reuse(bench: BenchRun) -> list[Row]:
    bench.start_peers()
    rows = []
    for cached, news in REUSE:
        for peer in bench.peers.values():
            peer.ask("fill", cached)
        whole = bench.whole(bench.ours, cached)
        rows += [_reuse(bench, cached, new, whole, True) for new in news]
    return rows


def long_reuse(bench: BenchRun) -> list[Row]:
    whole = bench.whole(bench.ours, LONGEST, repeats=1)
    return [_reuse(bench, LONGEST, new, whole, False) for new in LONG_REUSE]


def _reuse(bench: BenchRun, cached: int, new: int, whole: float, beside_peers: bool) -> Row:
    runs = {
        "copied": partial(bench.ours.copied, new),
        "moved": partial(bench.ours.moved, new),
        "kept": partial(bench.ours.kept, new),
        "copies alone": bench.ours.assembly,
    }
    for name, peer in bench.peers.items() if beside_peers else ():
        runs[f"{name} kept"] = partial(peer.ask, "kept", new)
        runs[f"{name} restored"] = partial(peer.ask, "restored", new)
    found, limit = bench.in_turn(runs), bench.limit(cached, new)
    return {
        "reused": cached,
        "new": new,
        "full prefill, s": whole,
        **{f"{name}, ms": seconds * 1e3 for name, seconds in found.items()},
        "limit, ms": limit * 1e3,
        "full / copied": whole / found["copied"],
        "full / kept": whole / found["kept"],
        "moved / copied": found["moved"] / found["copied"],
        "copied / limit": found["copied"] / limit,
        "copy, of the bandwidth": bench.num_bytes(cached)
        / found["copies alone"]
        / bench.machine.copy,
    }


def growth(bench: BenchRun) -> list[Row]:
    bench.ours.keep(LONGEST)

    def first(cached: int) -> float:
        bench.ours.cut(cached, USUAL)
        return bench.ours.copied(32)

    found = bench.in_turn({str(cached): partial(first, cached) for cached in GROWTH})
    rows = []
    for cached in GROWTH:
        repeats = 3 if cached <= 2000 else 1
        full = bench.in_turn({"full": partial(bench.ours.full, cached)}, repeats)["full"]
        num_bytes = bench.num_bytes(cached)
        least = num_bytes / bench.machine.copy + num_bytes / bench.machine.read
        times = {"first token": found[str(cached)], "bytes / bandwidth": least}
        times["full prefill"] = full
        rows.append({"reused": cached} | {f"{key}, ms": t * 1e3 for key, t in times.items()})
    return rows


def modules(bench: BenchRun) -> list[Row]:
    bench.ours.keep(4000)

    def first(count: int) -> float:
        bench.ours.cut(4000, count)
        return bench.ours.copied(32)

    found = bench.in_turn({str(count): partial(first, count) for count in MODULES})
    return [
        {
            "modules": int(name),
            "first token, ms": seconds * 1e3,
            "to one module": seconds / found["1"],
        }
        for name, seconds in found.items()
    ]
