"""What all connections of one server have in common."""

import trio

from signaling.hub.access_log import AccessLog
from signaling.hub.counts import Counts
from signaling.hub.limits import Budget, Tally
from signaling.hub.routes import Routes
from signaling.hub.settings import HubSettings
from signaling.hub.store import Stores
from signaling.hub.stream import Backlogs


class Shared:
    """Made by the server, used by each of its connections."""

    nursery: trio.Nursery
    """The server's: what a connection starts in it ends with the connection's own socket."""

    def __init__(
        self, settings: HubSettings, *, routes: Routes, stores: Stores, counts: Counts, log: AccessLog
    ) -> None:
        self.settings = settings
        self.routes = routes
        self.stores = stores
        self.counts = counts
        self.log = log
        self.stopping = False
        # Behind a proxy all connections are the proxy's.
        each = settings.max_unfinished if settings.trust_proxy else settings.max_unfinished_each
        self.unfinished = Budget(settings.max_unfinished, most_each=each)
        self.backlogs = Backlogs(settings.max_backlogs)
        self.subscribers = Tally(most_each=settings.max_subscribers_each)
