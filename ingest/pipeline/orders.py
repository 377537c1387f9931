"""What an operator asks of a feed, carried out once: to go back in time, or to fetch one alert anew."""

import structlog

from ingest.errors import AnswerTooLarge, IngestError, QueryRefused, RecordsRejected, Rewound
from ingest.model.alert import Alert
from ingest.model.journal import Obeyed, encode_obeyed, order_key
from ingest.model.memory import Kind, Reason, Verdict
from ingest.model.roster import Order, OrderKind
from ingest.model.sweep import Ask, Box
from ingest.model.tenant import FeedKey
from ingest.model.window import Reach
from ingest.pipeline.held import HeldFeed
from ingest.pipeline.ports import Encoder, Source


class Orders:
    """Carries out the orders for one feed."""

    def __init__(
        self,
        *,
        held: HeldFeed,
        feed: FeedKey,
        reach: Reach,
        source: Source,
        events: structlog.stdlib.BoundLogger,
    ) -> None:
        self._held = held
        self._key = order_key(str(feed))
        self._reach = reach
        self._source = source
        self._events = events

    async def obey(self, order: Order, encoder: Encoder) -> None:
        """Do what an operator asks for, once: an order that the checkpoint knows is left alone.

        One that cannot be carried out is given up, aloud: it must not hold the feed back (law 5).

        Raises:
            SourceError: the tenant's cloud did not answer; to be tried again.
        """
        held = self._held
        if held.state is None:
            await held.restore()
        refusal: IngestError | None = None
        while held.obeyed is None or held.obeyed.id != order.id:
            try:
                if refusal is not None:
                    await self._give_up(order, refusal)
                elif order.kind is OrderKind.REWIND:
                    await self._rewind(order)
                else:
                    await self._refetch(order, encoder)
            except Rewound:
                await held.restore()
            except (QueryRefused, AnswerTooLarge) as error:
                refusal = error
            except RecordsRejected as error:
                refusal = error
                await held.restore()

    async def _give_up(self, order: Order, refusal: IngestError) -> None:
        obeyed = Obeyed(order.id, self._replayed_until)
        await self._held.write((), {self._key: encode_obeyed(obeyed)})
        self._held.obeyed = obeyed
        self._events.warning("order_given_up", order=order.id, error=str(refusal))

    async def _rewind(self, order: Order) -> None:
        now = await self._held.server_time()
        obeyed = Obeyed(order.id, until=now)
        state, records = self._held.current.rewound(min(now, order.since or 0))
        records[self._key] = encode_obeyed(obeyed)
        await self._held.write((), records)
        self._held.state, self._held.obeyed = state, obeyed
        self._events.info("rewound", order=order.id, since=order.since)

    async def _refetch(self, order: Order, encoder: Encoder) -> None:
        """Publish one alert as it is now: by the usual decision, or again where it is known."""
        ask = Ask(Box(0), top=1, alert=order.alert)
        async with self._source.fetch(self._held.tenant, ask) as page:
            found = [r for r in page.records if isinstance(r, Alert) and r.id == order.alert]
            judgement = self._held.current.judge(
                found[:1],
                now=page.server_time,
                canonical=self._source.canonical,
                rejected={},
                reach=self._reach,
            )
            step = self._held.current.advance(judgement, reach=self._reach, now=page.server_time)
            verdicts = judgement.published
            if judgement.duplicates or judgement.reasons[Reason.BEYOND]:
                # Not after a newer one (law 3): what is known to be older is not published at all.
                verdicts = [Verdict(found[0], Reason.DUPLICATE, Kind.UPDATED, False, False)]  # noqa: FBT003
            records = [encoder.alert(verdict, order.id) for verdict in verdicts]
            obeyed = Obeyed(order.id, self._replayed_until)
            await self._held.write(records, {**step.records, self._key: encode_obeyed(obeyed)})
            self._held.current.apply(step)
        self._held.obeyed = obeyed
        self._events.info("refetched", order=order.id, found=len(found), published=len(records))

    @property
    def _replayed_until(self) -> int | None:
        return self._held.obeyed.until if self._held.obeyed else None
