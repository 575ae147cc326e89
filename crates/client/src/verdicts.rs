//! Verdicts by single calls: each goes to the broker that leads the shard of its token.

use std::time::Duration;

use pondage_protocol::{
    Failure,
    settle::{SettleItem, SettleResult},
    v1,
};
use tokio::time::{Instant, sleep};

use crate::{
    Client, ClientError,
    brokers::Broker,
    client::{Repeat, messages, try_until},
};

/// An item, with its index in the request.
type Numbered = (u32, SettleItem);

/// How a round of calls ended.
#[derive(Default)]
struct Round {
    /// Not settled, and worth another try.
    left: Vec<Numbered>,
    /// Why, of one of them.
    error: Option<ClientError>,
    /// Where each of them leads is known by now.
    at_once: bool,
}

impl Client {
    /// Gives verdicts. The results name the items by their index; an item whose messages ended differently has
    /// several. Repeating a verdict that holds already is fine for 5 minutes, so this does it by itself while a broker
    /// does not answer or its shards are led elsewhere.
    ///
    /// # Errors
    /// If no item was answered: why. Otherwise each result has its own.
    pub async fn settle(&self, items: Vec<SettleItem>) -> Result<Vec<SettleResult>, ClientError> {
        let mut tries = self.tries(Repeat::Safe, Duration::ZERO);
        let mut results = Vec::new();
        let mut left: Vec<Numbered> = (0..).zip(items).collect();
        loop {
            let round = self.settle_round(tries.deadline(), left, &mut results).await;
            let Some(error) = round.error else { break };
            match tries.failed(error, round.at_once) {
                Ok(wait) => sleep(wait).await,
                Err(error) if results.is_empty() => return Err(error),
                Err(error) => {
                    let refuse = |(item, what): Numbered| SettleResult {
                        item,
                        first: what.tokens.leases.first,
                        count: 0,
                        result: Err(error.clone().into()),
                    };
                    results.extend(round.left.into_iter().map(refuse));
                    break;
                }
            }
            left = round.left;
        }
        results.sort_by_key(|result: &SettleResult| (result.item, result.first));
        Ok(results)
    }

    /// Sends each item to where its shard is led, as far as that is known.
    async fn settle_round(
        &self,
        deadline: Instant,
        items: Vec<Numbered>,
        results: &mut Vec<SettleResult>,
    ) -> Round {
        let mut by_broker: Vec<(Broker, Vec<Numbered>)> = Vec::new();
        for item in items {
            let (broker, _) = self.broker_of(item.1.tokens.shard);
            match by_broker.iter_mut().find(|(known, _)| *known == broker) {
                Some((_, items)) => items.push(item),
                None => by_broker.push((broker, vec![item])),
            }
        }
        let mut round = Round { at_once: true, ..Round::default() };
        for (broker, items) in by_broker {
            let request = v1::SettleRequest { items: items.iter().map(|(_, item)| (*item).into()).collect() };
            let mut client = messages(broker.channel.clone());
            let limit = self.options().request_timeout;
            match try_until(deadline, limit, client.settle(request)).await {
                Ok(response) => self.sort_results(&items, response.results, results, &mut round),
                Err(error) => {
                    if error.is_of_broker() {
                        self.lost(&broker);
                    }
                    round.at_once = false;
                    round.left.extend(items);
                    round.error = Some(error);
                }
            }
        }
        round
    }

    /// Takes the results that hold, and leaves what another broker has to be asked.
    fn sort_results(
        &self,
        items: &[Numbered],
        answers: Vec<v1::SettleResult>,
        results: &mut Vec<SettleResult>,
        round: &mut Round,
    ) {
        for answer in answers {
            let Ok(answer) = SettleResult::try_from(answer) else { continue };
            let Some(item) = items.get(answer.item as usize).copied() else { continue };
            let refused = answer.result.clone().err().map(ClientError::from);
            // A whole item that was refused for the broker's sake.
            match refused.filter(|error| answer.count == 0 && error.is_of_broker()) {
                Some(error) => {
                    round.at_once &= self.settle_elsewhere(item.1, &error);
                    round.left.push(item);
                    round.error = Some(error);
                }
                None => results.push(SettleResult { item: item.0, ..answer }),
            }
        }
    }

    /// Notes who is said to lead the item's shard. True if somebody else is known by now.
    fn settle_elsewhere(&self, item: SettleItem, error: &ClientError) -> bool {
        let shard = item.tokens.shard;
        match self.broker_of(shard) {
            (_, Some(route)) => self.refused(&route, error),
            (broker, None) => {
                // It knows of no leader, or names one: whoever is asked next may know more.
                if let Some(hint) = error.leader() {
                    self.places().hinted(shard, hint, &broker, self.brokers());
                }
                self.brokers().pass_over(&broker);
                self.places().leader(shard).is_some()
            }
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        error.into_failure()
    }
}
