"""What a fleet will do, step by step, from a seed. Pure: the same seed and size give the same steps."""

from dataclasses import dataclass
from random import Random
from typing import Final

METRO: Final = "nj-metro"
BUS: Final = "nj-bus"
KINDS: Final = ("plain", "plain", "plain", "senior-60", "senior-70", "foreign")
SLIGHTLY_WRONG_MS: Final = 100_000  # a clock up to this much off is corrected by what the last sync found
FAR_WRONG_MS: Final = 900_000  # beyond two minutes the gate must refuse to judge codes
HOME_PROGRAMS: Final = ("nanjing-web", "nanjing-worker")
ABROAD_PROGRAMS: Final = ("suzhou-web", "suzhou-worker")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a fleet; ``crews`` are the processes that its gates share, ``strikes`` how often a city's program is killed."""

    gates: int
    riders: int
    waves: int
    crews: int
    foreign: bool = True
    strikes: int = 0


@dataclass(frozen=True, kw_only=True)
class PlannedGate:
    """One gate: an empty ``stop`` is a bus. ``clock_ms`` is how wrong its clock is."""

    number: int
    stop: str
    mode: str
    clock_ms: int

    @property
    def operator(self) -> str:
        """Whose gate it is."""
        return METRO if self.stop else BUS


@dataclass(frozen=True, kw_only=True)
class Step:
    """``tap`` (a rider at a gate), ``upload``, ``forget`` (upload, then wake up with the journal as it was before),
    ``restart``, ``kill`` (the whole crew, as a power cut would), ``strike`` (kill the city's program ``whom``) or ``wait``
    (until the next wave).
    """

    do: str
    gate: int = -1
    rider: int = -1
    whom: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Gates, kinds of riders, and what each crew does in order."""

    seed: int
    gates: tuple[PlannedGate, ...]
    riders: tuple[str, ...]
    crews: tuple[tuple[Step, ...], ...]


def planned(seed: int, size: Size, *, stops: tuple[str, ...]) -> Plan:
    """The plan of ``seed``: gates at ``stops`` of one metro line and on buses, riders who go somewhere and mostly come out."""
    random = Random(seed)  # noqa: S311  a rehearsal, not a secret
    gates = tuple(_gate(random, number, stops) for number in range(size.gates))
    kinds = KINDS if size.foreign else KINDS[:-1]
    riders = tuple(random.choice(kinds) for _ in range(size.riders))
    crews = [_crew(random, crew, size, gates) for crew in range(size.crews)]
    _strike(random, size, crews)
    return Plan(seed=seed, gates=gates, riders=riders, crews=tuple(tuple(steps) for steps in crews))


def _strike(random: Random, size: Size, crews: list[list[Step]]) -> None:
    """Put the strikes anywhere among the crews' steps; web server and worker take turns."""
    programs = HOME_PROGRAMS + (ABROAD_PROGRAMS if size.foreign else ())
    for number in range(size.strikes):
        steps = random.choice(crews)
        steps.insert(random.randint(0, len(steps)), Step(do="strike", whom=programs[number % len(programs)]))


def _gate(random: Random, number: int, stops: tuple[str, ...]) -> PlannedGate:
    clock = 0
    if random.random() < 0.4:  # noqa: PLR2004
        clock = random.randint(-SLIGHTLY_WRONG_MS, SLIGHTLY_WRONG_MS)
    if random.random() < 0.04:  # noqa: PLR2004
        clock = random.choice((-1, 1)) * FAR_WRONG_MS
    bus = number % 5 == 4  # noqa: PLR2004
    mode = "ride" if bus else "entry" if number % 2 else "exit"
    return PlannedGate(number=number, stop="" if bus else random.choice(stops), mode=mode, clock_ms=clock)


def _crew(random: Random, crew: int, size: Size, gates: tuple[PlannedGate, ...]) -> list[Step]:
    mine = [gate for gate in gates if gate.number // 10 % size.crews == crew]
    riders = [rider for rider in range(size.riders) if rider % size.crews == crew]
    by_mode = {mode: [gate.number for gate in mine if gate.mode == mode] for mode in ("entry", "exit", "ride")}
    dead = {gate.number for gate in mine if random.random() < 0.3}  # noqa: PLR2004  no network until the very end
    steps: list[Step] = []
    for wave in range(size.waves):
        random.shuffle(riders)
        mode = "entry" if wave % 2 == 0 else "exit"
        for rider in riders:
            chance = random.random()
            if chance < 0.08:  # noqa: PLR2004  stays at home, or jumps the gate: an entry or exit is missing
                continue
            at = by_mode["ride"] if chance < 0.25 and by_mode["ride"] else by_mode[mode]  # noqa: PLR2004
            if at:
                steps.append(Step(do="tap", gate=random.choice(at), rider=rider))
        trouble = [Step(do=random.choice(("upload", "upload", "forget")), gate=gate.number) for gate in mine]
        trouble = [step for step in trouble if step.gate not in dead and random.random() < 0.6]  # noqa: PLR2004
        trouble += [Step(do="restart", gate=gate.number) for gate in mine if random.random() < 0.1]  # noqa: PLR2004
        random.shuffle(trouble)
        if wave and random.random() < 0.7:  # noqa: PLR2004
            trouble.insert(random.randint(0, len(trouble)), Step(do="kill"))
        steps += [*trouble, Step(do="wait")]
    return steps
