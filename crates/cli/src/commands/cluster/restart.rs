//! `pondage cluster restart`: the brokers one after the other, without anybody noticing.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use clap::Args;
use pondage_client::{
    BrokerStatus,
    rolling::{RollingAction, RollingError, RollingOptions, RollingProgress, restart_one_by_one},
};
use pondage_model::BrokerId;
use serde_json::json;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::patience::{Progress, too_long};
use crate::{
    commands::{ResultForm, broker::parse_broker, print, up::brokers::record},
    completion,
    connect::Connection,
    exit::{Exit, Failure, Result},
    places::parse_timeout,
    render::text::counted,
};

/// How often to look whether a restart was begun.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long `pondage up` may take for a broker to hand over and stop.
const SUPERVISOR_PATIENCE: Duration = Duration::from_secs(120);

/// Restart brokers one after the other, each once it leads nothing and everybody is in sync
#[derive(Args, Debug)]
#[command(after_help = "\
For each broker: wait until nothing is wrong with the cluster, drain it, restart it, wait until it is back and in sync
with every shard, undrain it. The catalog's leader comes last.

--exec CMD runs `/bin/sh -c CMD` for each broker, with its number in PONDAGE_BROKER and its address in
PONDAGE_BROKER_ADDRESS; the broker must come back on the same volume. --data DIR restarts the brokers of a
`pondage up --brokers` on this machine.

Examples:
  pondage cluster restart --data ./pondage-data
  pondage cluster restart --exec 'systemctl --host \"${PONDAGE_BROKER_ADDRESS%:*}\" restart pondage'
  pondage cluster restart --brokers 2,3 --exec './replace-binary.sh $PONDAGE_BROKER'")]
pub(super) struct Restart {
    /// Only these [default: all]
    #[arg(long, value_name = "BROKERS", value_parser = parse_broker, value_delimiter = ',', add = completion::brokers())]
    brokers: Vec<BrokerId>,

    /// What restarts a broker
    #[arg(short, long, value_name = "CMD", required_unless_present = "data", conflicts_with = "data")]
    exec: Option<String>,

    /// The data folder of a `pondage up --brokers`, which restarts them
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    data: Option<PathBuf>,

    /// Also where shards take no messages meanwhile, because they have too few other copies
    #[arg(long)]
    despite_minimum: bool,

    /// How long one step may take, such as the way back into sync
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, default_value = "5m")]
    wait_timeout: Duration,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

impl Restart {
    pub(super) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    pub(super) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let how = match (&self.exec, &self.data) {
            (Some(command), _) => How::Command(command),
            (None, Some(data)) => How::Supervisor(supervised(data)?),
            (None, None) => return Err(Failure::usage("how? --exec CMD or --data DIR")),
        };
        let client = connection.client().await?;
        let options = RollingOptions {
            brokers: self.brokers.clone(),
            despite_minimum: self.despite_minimum,
            step_timeout: self.wait_timeout,
            ..RollingOptions::default()
        };
        let mut progress = Progress::start();
        let restarted = restart_one_by_one(
            &client,
            &options,
            async |broker: &BrokerStatus| how.restart(broker).await,
            |now| tell(&mut progress, now),
        )
        .await;
        drop(progress);
        let count = restarted.map_err(|error| match error {
            RollingError::Client(error) => error.into(),
            RollingError::TimedOut { after, waited_for } => too_long(after, &waited_for.to_string()),
            RollingError::Restart { broker, error } => error.about(format!("restarting broker {broker}")),
            error @ RollingError::NoBroker(_) => {
                Failure { exit: Exit::NotFound, ..Failure::failed(error.to_string()) }
                    .help("`pondage cluster status` lists them")
            }
        })?;
        print(&match self.output {
            ResultForm::Text => format!("{} restarted\n", counted(count as u64, "broker")),
            ResultForm::Json => format!("{}\n", json!({ "restarted": count })),
        })?;
        Ok(Exit::Ok)
    }
}

fn tell(progress: &mut Progress, now: &RollingProgress) {
    let (done, total) = (now.done as u64, now.total as u64);
    match &now.action {
        RollingAction::Wait(wait) => progress.say(done, total, &wait.to_string()),
        RollingAction::Drain(broker) => progress.step(done, total, &format!("broker {broker} hands over")),
        RollingAction::Restart(broker) => progress.step(done, total, &format!("broker {broker} restarts")),
        RollingAction::Undrain(broker) => {
            progress.step(done, total, &format!("broker {broker} is back and in sync"));
        }
        RollingAction::Done => {}
    }
}

/// What restarts a broker.
enum How<'a> {
    Command(&'a str),
    Supervisor(Supervised<'a>),
}

/// The folder of a `pondage up --brokers` that runs.
struct Supervised<'a> {
    folder: &'a Path,
    record: record::Record,
}

fn supervised(folder: &Path) -> Result<Supervised<'_>> {
    let record = record::read(folder)?.ok_or_else(|| {
        Failure::usage(format!("{} is no data folder of `pondage up --brokers`", folder.display()))
    })?;
    if !record::is_running(folder) {
        return Err(Failure::failed(format!("nothing runs the brokers of {}", folder.display()))
            .help(format!("pondage up --brokers {} --data {}", record.brokers.len(), folder.display())));
    }
    Ok(Supervised { folder, record })
}

impl How<'_> {
    async fn restart(&self, broker: &BrokerStatus) -> Result<()> {
        match self {
            Self::Command(command) => run(command, broker).await,
            Self::Supervisor(supervised) => supervised.restart(broker).await,
        }
    }
}

async fn run(command: &str, broker: &BrokerStatus) -> Result<()> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).kill_on_drop(true).stdin(Stdio::null());
    shell.env("PONDAGE_BROKER", broker.id.to_string()).env("PONDAGE_BROKER_ADDRESS", &broker.address);
    // What it prints is no result of this command.
    shell.stdout(std::io::stderr());
    let status = shell.status().await?;
    if status.success() { Ok(()) } else { Err(Failure::failed(format!("--exec ended with {status}"))) }
}

impl Supervised<'_> {
    async fn restart(&self, broker: &BrokerStatus) -> Result<()> {
        let place = self.record.brokers.iter().position(|known| known.listen.to_string() == broker.address);
        let number = place.map(|index| index + 1).ok_or_else(|| {
            let folder = self.folder.display();
            Failure::failed(format!("broker {} at {} is none of {folder}", broker.id, broker.address))
        })?;
        let asked = record::restart_file(self.folder, number);
        std::fs::write(&asked, "")?;
        let deadline = Instant::now() + SUPERVISOR_PATIENCE;
        while asked.exists() {
            if !record::is_running(self.folder) || Instant::now() > deadline {
                // Nobody shall find the request later.
                let _ = std::fs::remove_file(&asked);
                return Err(Failure::failed("`pondage up` does not restart it"));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_knows_its_broker_and_its_failure_ends_it_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let broker =
            BrokerStatus { id: BrokerId(2), address: "b2:7420".to_owned(), ..BrokerStatus::default() };
        let said = folder.path().join("said");
        let command = format!("echo $PONDAGE_BROKER $PONDAGE_BROKER_ADDRESS > {}", said.display());
        run(&command, &broker).await.expect("it succeeds");
        assert_eq!(std::fs::read_to_string(said).expect("written"), "2 b2:7420\n");
        let failure = run("exit 3", &broker).await.expect_err("it fails");
        assert!(failure.message.contains('3'), "{failure}");
    }

    #[test]
    fn a_folder_that_nobody_runs_is_refused() {
        let place = tempfile::tempdir().expect("a folder");
        assert_eq!(supervised(place.path()).err().map(|failure| failure.exit), Some(Exit::Usage));
        let folder = record::ClusterFolder::claim(place.path()).expect("free");
        folder.save(&record::Record::new(pondage_model::Uuid([1; 16]))).expect("writable");
        assert!(supervised(place.path()).is_ok());
        drop(folder);
        assert_eq!(supervised(place.path()).err().map(|failure| failure.exit), Some(Exit::Failed));
    }
}
