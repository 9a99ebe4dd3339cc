"""What a run of many seeds did, by kind: nobody takes an empty run for a passed one."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

LIES = (
    "twins",
    "twins_rewired",
    "slot_forks",
    "malformed_deps",
    "never_certified_deps",
    "withheld_bodies",
    "acked_everything",
    "sent_to_some_only",
    "votes_to_one_only",
    "double_proposals",
    "wrong_derived_fields",
    "bound_value_ignored",
    "lane_omitted",
    "control_omitted",
    "double_votes",
    "votes_without_cause",
    "hidden_polkas",
    "stripped_polkas",
    "forged_justifications",
    "replays",
    "nearly_true",
    "wrong_answers",
    "false_hellos",
    "late_sends",
    "sequence_floods",
    "garbage",
)
"""What liars do."""
DISKS = (
    "crash_before_transaction",
    "crash_before_sends",
    "crash_between_sends",
    "crash_after_sends",
    "crash_between_steps",
    "disk_rolled_back",
    "journal_lost_noticed",
)
"""A transaction that fails or is torn is a crash before it; one between sends loses the last envelopes."""
NETWORK = (
    "links_cut",
    "links_missing",
    "partitions",
    "one_way_links",
    "kind_holds",
    "reordering",
    "heavy_tails",
    "clock_rates",
    "wall_clock_jumps",
)
MEMBERS = (
    "joins",
    "admitted",
    "two_joins_at_once",
    "newcomers_vanished",
    "removals",
    "rekeys",
    "leader_removed_in_round_change",
)
BEYOND = (
    "overwhelmed_runs",
    "forks_noticed",
)
RUNS = (
    "real_signatures",
    "stand_in_signatures",
    "several_liars",
    "rooms_of_one",
    "rooms_of_two_or_three",
    "rooms_of_more_than_ten",
    "evidence_found",
)
"""Not faults, but a run without them would show less than it says."""
KINDS = (*LIES, *DISKS, *NETWORK, *MEMBERS, *BEYOND, *RUNS)


@dataclass
class Counts:
    """What one seed did, or many."""

    seeds: int = 0
    steps: int = 0
    messages: int = 0
    blocks: int = 0
    tally: Counter[str] = field(default_factory=Counter)
    """By kind, all of `KINDS`."""

    def add(self, other: "Counts") -> None:
        self.seeds += other.seeds
        self.steps += other.steps
        self.messages += other.messages
        self.blocks += other.blocks
        self.tally += other.tally

    @property
    def faults(self) -> int:
        """Everything injected."""
        return sum(self.tally[kind] for kind in (*LIES, *DISKS, *NETWORK, *MEMBERS))

    def absent(self) -> list[str]:
        """What never happened, and should have."""
        totals = ("seeds", "steps", "messages", "blocks", "faults")
        return [
            *(name for name in totals if not getattr(self, name)),
            *(kind for kind in KINDS if not self.tally[kind]),
        ]

    @property
    def totals(self) -> str:
        return (
            f"seeds={self.seeds} steps={self.steps} messages={self.messages} "
            f"blocks={self.blocks} faults={self.faults}"
        )

    def __str__(self) -> str:
        return f"{self.totals} {spelled(self.tally, KINDS)}"


def spelled(tally: Counter[str], kinds: Iterable[str]) -> str:
    return " ".join(f"{kind}={tally[kind]}" for kind in kinds)
