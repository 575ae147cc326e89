//! Restarts of brokers: one at a time, and nobody notices.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    faults::{begin, end},
    shop::{NEXT_IMAGE, RELEASE, Shop, condition},
};
use crate::command::wait_until;

/// How long a restart of all brokers may take.
const LIMIT: Duration = Duration::from_secs(240);

pub(super) fn one_at_a_time(shop: &Shop) -> Result<String> {
    begin(shop, "rolling")?;
    let change = |spec: Value| shop.patch(("brokercluster", RELEASE), &json!({ "spec": spec }));
    let setting =
        restarts_all(shop, || change(json!({ "config": { "logLevel": "info,pondage_broker=debug" } })))?;
    let image = restarts_all(shop, || change(json!({ "image": NEXT_IMAGE })))?;
    for pod in shop.list("pods", "app.kubernetes.io/component=broker")? {
        let runs = &pod["spec"]["containers"][0]["image"];
        ensure!(runs == NEXT_IMAGE, "{} runs {runs}", pod["metadata"]["name"]);
    }
    let traffic = end(shop)?;
    let wish =
        restarts_all(shop, || shop.kubectl(&["rollout", "restart", "statefulset", RELEASE]).map(drop))?;
    Ok(format!(
        "a setting {setting:.0} s, an image {image:.0} s, kubectl rollout restart {wish:.0} s; {traffic}"
    ))
}

/// Changes something, sees every broker restarted, never two at once, and says how many seconds it took.
fn restarts_all(shop: &Shop, change: impl FnOnce() -> Result<()>) -> Result<f64> {
    let before = uids(shop)?;
    let begun = Instant::now();
    change()?;
    let mut order: Vec<String> = Vec::new();
    loop {
        let brokers = shop.brokers()?;
        let away = 3 - brokers.iter().filter(|broker| broker.2).count();
        ensure!(away <= 1, "{away} brokers are away at once: {brokers:?}");
        for (name, uid, _) in &brokers {
            if before.get(name) != Some(uid) && !order.contains(name) {
                order.push(name.clone());
            }
        }
        let cluster = shop.get("brokercluster", RELEASE)?;
        if order.len() == 3 && is_done(&cluster) {
            break;
        }
        ensure!(begun.elapsed() < LIMIT, "after {order:?} it does not go on: {}", cluster["status"]);
        sleep(Duration::from_millis(200));
    }
    Ok(begun.elapsed().as_secs_f64())
}

pub(super) fn a_broken_change_stops(shop: &Shop) -> Result<String> {
    let before = uids(shop)?;
    let image = |image: &str| shop.patch(("brokercluster", RELEASE), &json!({ "spec": { "image": image } }));
    image("pondage.test/nothing:here")?;
    let changed = |shop: &Shop| -> Result<usize> {
        let now = uids(shop)?;
        Ok(now.iter().filter(|(name, uid)| before.get(*name) != Some(*uid)).count())
    };
    wait_until("a broker that is restarted", LIMIT, || Ok(changed(shop)? > 0))?;
    sleep(Duration::from_secs(20));
    ensure!(changed(shop)? == 1, "{} brokers have the broken image", changed(shop)?);
    let cluster = shop.get("brokercluster", RELEASE)?;
    ensure!(condition(&cluster, "Available").0 == "True", "{}", cluster["status"]);
    ensure!(condition(&cluster, "Ready").0 == "False", "{}", cluster["status"]);
    image(NEXT_IMAGE)?;
    shop.wait_for(("brokercluster", RELEASE), LIMIT, |cluster| {
        is_done(cluster) && condition(cluster, "Ready").0 == "True"
    })?;
    let restarted = changed(shop)?;
    ensure!(restarted == 1, "{restarted} brokers were restarted for nothing");
    Ok("one broker was without, the others served".to_owned())
}

fn is_done(cluster: &Value) -> bool {
    let is_seen = cluster["status"]["observedGeneration"] == cluster["metadata"]["generation"];
    is_seen && condition(cluster, "Progressing") == ("False".to_owned(), "Done".to_owned())
}

fn uids(shop: &Shop) -> Result<BTreeMap<String, String>> {
    Ok(shop.brokers()?.into_iter().map(|(name, uid, _)| (name, uid)).collect())
}
