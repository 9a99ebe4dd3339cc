"""A member whose vote key may not sign any more: it observes, and asks the others to let a new key vote."""

from chain.control import Request
from chain.crypto import Signer
from chain.ids import MemberId
from chain.message import JoinRequest
from chain.state import State


class Comeback:
    """Our own return. Every linked member hears of it once in each epoch, until we are back."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._request: Request | None = None
        self._asked: set[MemberId] = set()
        """Who has our request, on this link and in this epoch: what they did about it lapses with that."""

    @property
    def under_way(self) -> bool:
        """We are a member, but by a vote key that is not the one we have now."""
        state = self._state
        is_member = state.tip.committee.place(state.identity) is not None
        return self._request is not None and is_member and state.me is None

    def begin(self, request: Request, key: Signer) -> None:
        """Take the new key; what the former one signed stays as it is, and is added to no more."""
        state = self._state
        assert (request.identity, request.vote_key) == (state.identity, key.public), "a request of our own"
        if state.key is None or state.key.public != key.public:
            state.take_key(key)
        self._request = request
        self._asked.clear()

    def ask(self) -> None:
        """Ask whom we have not asked yet; to be called once we are not behind."""
        if self._request is not None and self.under_way:
            for peer in sorted(self._state.out.members - self._asked):
                self._asked.add(peer)
                self._state.out.to(peer, JoinRequest(self._request))

    def forget(self, peer: MemberId) -> None:
        """What it was asked is gone: with the link, or because it was no member yet."""
        self._asked.discard(peer)

    def new_epoch(self) -> None:
        self._asked.clear()
