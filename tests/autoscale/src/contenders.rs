//! Who takes part: the controller, every setting of KEDA that the bars name, and others for comparison.

use pondage_autoscale::simulate::{Controlled, Scaler};
use pondage_autoscale::{DelayTarget, Learned, ScaleToZero, Spec, UTILIZATION_PERCENT_DEFAULT};

use crate::fixed::Fixed;
use crate::hpa::{Settings, UtilizationScaler};
use crate::keda::{KafkaSettings, KafkaTrigger, Keda, RabbitMode, RabbitTrigger, ScaledObject, Trigger};
use crate::numaflow::{Numaflow, ScaleSettings};
use crate::traces::MEMBER_RATE;

/// The drain-time controller's name in tables.
pub const CONTROLLER: &str = "drain-time controller";

/// Lag thresholds of KEDA that the bars name; 10 is its default.
pub const LAG_THRESHOLDS: [u64; 5] = [10, 100, 250, 500, 1_000];

/// One setting of KEDA's `kafka` trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KedaSetting {
    /// `lagThreshold`.
    pub lag_threshold: u64,
    /// `ensureEvenDistributionOfPartitions`.
    pub evenly: bool,
}

impl KedaSetting {
    /// All settings that the bars name.
    pub fn all() -> impl Iterator<Item = Self> {
        [false, true]
            .into_iter()
            .flat_map(|evenly| LAG_THRESHOLDS.map(|lag_threshold| Self { lag_threshold, evenly }))
    }

    /// Its name in tables.
    pub fn name(self) -> String {
        let Self { lag_threshold, evenly } = self;
        if evenly { format!("KEDA lag {lag_threshold}, evenly") } else { format!("KEDA lag {lag_threshold}") }
    }
}

/// What a scaler is told of its task.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// The most replicas that it may ask for: as many as there are partitions.
    pub most_replicas: u32,
    /// The age that no message should get, in seconds. Only the controller can be told such a thing.
    pub target_seconds: u64,
}

/// Makes a scaler that remembers nothing.
pub type Make = Box<dyn Fn(Task) -> Box<dyn Scaler> + Send + Sync>;

/// One who takes part.
pub struct Contender {
    /// Its name in tables.
    pub name: String,
    /// How to make it.
    pub make: Make,
}

impl Contender {
    fn new<S: Scaler + 'static>(
        name: impl Into<String>,
        make: impl Fn(Task) -> S + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), make: Box::new(move |task| Box::new(make(task))) }
    }
}

/// Everybody, in the tables' order.
pub fn contenders() -> Vec<Contender> {
    let mut all = vec![
        Contender::new("fixed 24", |task| Fixed { replicas: task.most_replicas }),
        Contender::new("fixed 12", |task| Fixed { replicas: task.most_replicas.div_ceil(2) }),
    ];
    all.extend(KedaSetting::all().map(keda));
    all.push(Contender::new(CONTROLLER, controller));
    all.push(expert());
    all.push(Contender::new("HPA 80 % busy", |task| {
        UtilizationScaler::new(Settings::between(1, task.most_replicas), 0.8)
    }));
    all.push(Contender::new("Numaflow", |task| Numaflow::new(ScaleSettings::up_to(task.most_replicas))));
    all
}

/// The product's own controller, which knows nothing at the start: the target of the benchmark, sleep after as long as
/// KEDA's cooldown, everything else at its default (of [`Spec`]: a resource gives a drain twice as long).
fn controller(task: Task) -> Controlled {
    let spec = Spec {
        min_replicas: 0,
        max_replicas: task.most_replicas,
        delay: Some(DelayTarget {
            millis: task.target_seconds * 1_000,
            utilization_percent: UTILIZATION_PERCENT_DEFAULT,
        }),
        scale_to_zero: Some(ScaleToZero { idle_millis: 300_000 }),
        ..Spec::default()
    };
    Controlled::new(spec.check().expect("the benchmark's specification is a good one"), Learned::default())
}

fn keda(setting: KedaSetting) -> Contender {
    Contender::new(setting.name(), move |task| {
        let plain = KafkaSettings::with_lag_threshold(setting.lag_threshold);
        let settings = if setting.evenly { plain.evenly() } else { plain };
        Keda::new(ScaledObject::up_to(task.most_replicas), vec![Trigger::Kafka(KafkaTrigger::new(settings))])
    })
}

/// What somebody makes who knows KEDA and how fast a member is: lag, evenly, and the publish rate at 80 % of that speed.
fn expert() -> Contender {
    Contender::new("expert: lag 500 evenly, and rate", |task| {
        let lag = KafkaTrigger::new(KafkaSettings::with_lag_threshold(500).evenly());
        let rate =
            RabbitTrigger { mode: RabbitMode::MessageRate, value: 0.8 * MEMBER_RATE, activation_value: 0.0 };
        Keda::new(ScaledObject::up_to(task.most_replicas), vec![Trigger::Kafka(lag), Trigger::Rabbit(rate)])
    })
}

/// What a contender is, for the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The drain-time controller.
    Controller,
    /// KEDA as it comes.
    Keda,
    /// KEDA with even distribution.
    KedaEvenly,
    /// A fixed number of replicas.
    Fixed,
    /// Anything else.
    Other,
}

impl Family {
    /// What a name in a table is.
    pub fn of(name: &str) -> Self {
        match name {
            CONTROLLER => Self::Controller,
            _ if name.starts_with("KEDA") && name.ends_with("evenly") => Self::KedaEvenly,
            _ if name.starts_with("KEDA") => Self::Keda,
            _ if name.starts_with("fixed") => Self::Fixed,
            _ => Self::Other,
        }
    }
}
