//! The list: what is planted, by area, and which published mistake each fault is modelled on.

use super::Area;

macro_rules! faults {
    ($($area:ident { $($(#[doc = $meaning:literal])+ $fault:ident, $name:literal, $source:literal;)+ })+) => {
        /// A mistake that can be planted. `docs/planted-faults.md` says where each is and which seed finds it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($($(#[doc = $meaning])+ $fault,)+)+
        }

        impl Fault {
            /// Every fault, by area.
            pub const ALL: &'static [Self] = &[$($(Self::$fault,)+)+];

            /// Its name in commands and tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$fault => $name,)+)+ }
            }

            /// Where it is planted.
            #[must_use]
            pub const fn area(self) -> Area {
                match self { $($(Self::$fault => Area::$area,)+)+ }
            }

            /// What goes wrong, in one sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $($(Self::$fault => concat!($($meaning),+).trim(),)+)+ }
            }

            /// The issue, proposal, paper or report that it is modelled on.
            #[must_use]
            pub const fn source(self) -> &'static str {
                match self { $($(Self::$fault => $source,)+)+ }
            }

            /// The fault of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|fault| fault.name() == name)
            }
        }
    };
}

faults! {
    Replication {
        /// A follower cuts its log to its own high watermark instead of where its epochs part from the leader's.
        TruncateToHighWatermark, "truncate-to-high-watermark", "KIP-101 (KAFKA-1211)";
        /// A follower keeps its tail when a new epoch begins under the leader that it followed before.
        SkipAlignment, "skip-alignment", "KAFKA-7164";
        /// Cutting the log leaves the cut epochs in the epoch table.
        KeepEpochsOnTruncation, "keep-epochs-on-truncation", "KAFKA-7415";
        /// Asked for the end of an epoch that it never had, the leader names its own end.
        AlignUnknownEpochToEnd, "align-unknown-epoch-to-end", "KIP-279 (KAFKA-6361)";
        /// The high watermark ignores a member that was asked into the ISR until the catalog's answer is back.
        CommitWithoutRequestedMember, "commit-without-requested-member", "apache/kafka#9100 (AlterIsr)";
        /// The high watermark ignores a member as soon as its removal from the ISR is asked for.
        CommitOverRequestedIsr, "commit-over-requested-isr", "camunda/camunda#60086";
        /// A repeated acknowledgement counts as another member's.
        CountMemberTwice, "count-member-twice", "xnnyygn/xraft#27";
        /// A new leader serves before an entry of its own epoch is committed.
        ServeBeforeOwnEpoch, "serve-before-own-epoch", "tikv/tikv#6340, RedisLabs/redisraft#22";
        /// A replica answers in a higher epoch before the promise is durable.
        ForgetPromise, "forget-promise", "NodeDB-Lab/nodedb#161, valkey-io/valkey#3887";
        /// A follower takes entries of a leader whose epoch is older than its promise.
        AcceptOlderEpoch, "accept-older-epoch", "Mininglamp-OSS/octo-im#42";
        /// A follower appends a push without checking that its log holds what comes before.
        SkipPreviousCheck, "skip-previous-check", "databendlabs/openraft#1795";
        /// A follower commits up to the leader's high watermark though its tail was never compared.
        CommitUnmatchedTail, "commit-unmatched-tail", "scylladb/scylladb#9965, atomix/copycat#265";
        /// The leader tells its followers its end as the high watermark.
        HighWatermarkAheadOfCommit, "high-watermark-ahead-of-commit", "eBay/NuRaft#57";
        /// A round that began before a decision confirms it.
        ConfirmWithEarlierRound, "confirm-with-earlier-round", "RedisLabs/raft#45";
        /// A leader answers without asking whether it still leads.
        SpeakWithoutRound, "speak-without-round", "ktoso/akka-raft#65";
        /// A leader drops slow members until fewer than the minimum are in sync, and commits.
        ShrinkIsrBelowMinimum, "shrink-isr-below-minimum", "KIP-966";
        /// A deposed leader keeps what it appended and never committed, and shows it.
        KeepOverlayAfterDeposal, "keep-overlay-after-deposal", "Jepsen: Redpanda 21.10.1 (aborted reads)";
        /// A sync that returns after the leadership ended moves the high watermark.
        CommitAfterDeposal, "commit-after-deposal", "redpanda-data/redpanda#1762";
        /// A member that restarted counts as in sync by what it acknowledged before.
        RestartedMemberInSync, "restarted-member-in-sync", "KIP-903 (KAFKA-14139)";
        /// A follower joins the ISR at the leader's high watermark, before it holds the start of the leader's
        /// epoch.
        JoinIsrAtHighWatermark, "join-isr-at-high-watermark", "KAFKA-7128";
        /// Epochs are compared by their last 16 bits.
        SixteenBitEpoch, "sixteen-bit-epoch", "KAFKA-5283, confluentinc/librdkafka#3720";
        /// The leader counts its own entries as durable once they are appended.
        LeaderCountsUnsyncedEnd, "leader-counts-unsynced-end", "nats-io/nats-server#7564";
        /// A follower acknowledges entries that it wrote and did not sync.
        FollowerAcknowledgesBeforeSync, "follower-acknowledges-before-sync", "ZOOKEEPER-4646, camunda/camunda#4160";
        /// Cutting the log leaves the durable position behind the end.
        DurableSurvivesTruncation, "durable-survives-truncation", "redpanda-data/redpanda#2937";
        /// The leader counts an acknowledgement whose sender's log is not aligned with its own.
        CountDivergedAcknowledgement, "count-diverged-acknowledgement", "KAFKA-13141";
        /// Catching up goes on one entry too far behind a gap.
        CatchUpSkipsEntry, "catch-up-skips-entry", "lerna-stack/akka-entity-replication#105";
    }
    Storage {
        /// A batch counts as durable once it is written.
        AcknowledgeBeforeSync, "acknowledge-before-sync", "Jepsen: NATS 2.12.1";
        /// A new segment's name is not made durable.
        SkipFolderSync, "skip-folder-sync", "baidu/braft#254, microsoft/CCF#7030";
        /// A new segment has its name before its header is durable.
        RenameBeforeSync, "rename-before-sync", "StanfordSNR/gg#32";
        /// A failed sync is tried again, and its second answer is believed.
        RetryFailedSync, "retry-failed-sync", "Rebello et al., USENIX ATC 2020";
        /// Recovery serves what reads show and does not write the tail again.
        ServeUnsyncedTail, "serve-unsynced-tail", "Rebello et al., USENIX ATC 2020";
        /// A damaged frame before a later batch is cut off as if it were a torn tail.
        CutAtCorruption, "cut-at-corruption", "Alagappan et al., USENIX FAST 2018";
        /// Recovery believes a frame by its header and does not check its body.
        SkipBodyChecksum, "skip-body-checksum", "Jepsen: NATS 2.12.1, Ganesan et al., USENIX FAST 2017";
        /// Recovery leaves the bytes behind a cut tail where they are.
        KeepTornTail, "keep-torn-tail", "etcd-io/etcd#5230, etcd-io/etcd#6515";
        /// Segments are dropped that the newest committed checkpoint does not cover.
        DropSegmentsBeforeCheckpoint, "drop-segments-before-checkpoint", "nats-io/nats-server#7043";
        /// Segments are dropped behind a checkpoint whose last page is not committed.
        TrustUnfinishedCheckpoint, "trust-unfinished-checkpoint", "nats-io/nats-server#7043";
    }
    Delivery {
        /// A message that comes back is leased under a token that it had before.
        ReuseLeaseToken, "reuse-lease-token", "apache/eventmesh#5291";
        /// A settle ends the lease that a message is under, whichever lease it names.
        AcceptOvertakenToken, "accept-overtaken-token", "rabbitmq/rabbitmq-server#4004";
        /// A message is granted again before the end of its last lease is committed.
        GrantBeforeReleaseCommits, "grant-before-release-commits", "apache/pulsar#3185";
        /// A message is granted before it is committed.
        GrantUncommittedMessage, "grant-uncommitted-message", "Jepsen: Redpanda 21.10.1 (aborted reads)";
        /// A publish is acknowledged once it is appended.
        AnswerPublishBeforeCommit, "answer-publish-before-commit", "nats-io/nats-server#7564";
        /// A settle is confirmed once it is appended.
        AnswerSettleBeforeCommit, "answer-settle-before-commit", "apache/pulsar#20638";
        /// A repeated batch is acknowledged before the first one is committed.
        AnswerRepeatBeforeCommit, "answer-repeat-before-commit", "Jepsen: Redpanda 21.10.1 (lost messages)";
        /// A checkpoint leaves out the idempotent producers.
        ForgetProducers, "forget-producers", "AutoMQ/automq#437";
        /// A fenced producer may go on.
        IgnoreProducerEpoch, "ignore-producer-epoch", "KAFKA-9666";
        /// A batch is appended whose sequence does not follow the last one.
        IgnoreSequenceGap, "ignore-sequence-gap", "confluentinc/librdkafka#4953";
        /// A checkpoint turns delayed messages into ready ones.
        ForgetDelay, "forget-delay", "apache/pulsar#22716";
        /// A delayed message is granted within the second before it is due.
        GrantDelayedEarly, "grant-delayed-early", "apache/pulsar#10169";
        /// A dead letter is settled at its source before it is durable at its target.
        SettleBeforeDeadLetterStored, "settle-before-dead-letter-stored", "rabbitmq/rabbitmq-server#3100";
        /// A checkpoint leaves out which dead letters have arrived.
        ForgetDeadLetterOrigin, "forget-dead-letter-origin", "apache/rocketmq#3473";
        /// A message that arrived in the dead-letter queue waits again at its source.
        KeepMovedMessage, "keep-moved-message", "apache/pulsar#4426";
        /// A consumer is given more than it may hold.
        IgnorePrefetch, "ignore-prefetch", "nats-io/nats-server#4427, apache/pulsar#17003";
        /// A checkpoint leaves out how often a message failed.
        ForgetFailures, "forget-failures", "nats-io/nats-server#6698";
        /// What a lost consumer held stays leased until its deadline.
        ForgetLostConsumer, "forget-lost-consumer", "nats-io/nats-server#6093";
        /// A group's earlier owner may still move its cursor.
        AcceptEarlierOwner, "accept-earlier-owner", "segmentio/kafka-go#1330, KAFKA-2596";
        /// A seek is answered and never appended.
        ForgetSeek, "forget-seek", "apache/pulsar#26304";
        /// A seek stores where the group would read to, not where it seeks.
        StoreReadPosition, "store-read-position", "apache/pulsar#18237";
    }
    Catalog {
        /// The catalog takes an ISR that was asked for on an older version of the row.
        AlterIsrWithoutVersion, "alter-isr-without-version", "KAFKA-8585, apache/kafka#9100";
        /// The catalog takes a member into the ISR under an incarnation that is over.
        AlterIsrOfRestartedMember, "alter-isr-of-restarted-member", "KIP-903 (KAFKA-14139)";
        /// An election may choose a replica outside of the ISR.
        ElectOutsideIsr, "elect-outside-isr", "KIP-966";
        /// An election does not compare the candidates' logs.
        ElectShorterLog, "elect-shorter-log", "bakwc/PySyncObj#202";
        /// An election keeps a member whose log ends below a high watermark that a peer knows.
        IgnoreKnownHighWatermark, "ignore-known-high-watermark", "KIP-966";
        /// An election trusts one restarted member while the others have not answered.
        ElectOnOneAnswer, "elect-on-one-answer", "KIP-966";
        /// The catalog takes an election that was planned on an older version of the row.
        ElectWithoutVersion, "elect-without-version", "KIP-570 (KAFKA-9539)";
        /// A new leader of the catalog takes every broker for lost that it has not heard of yet.
        ExpireLeasesAtOnce, "expire-leases-at-once", "etcd-io/etcd#2660, etcd-io/etcd#4778";
        /// The catalog registers an incarnation twice under different nonces.
        AcceptCopiedIncarnation, "accept-copied-incarnation", "KIP-903 (KAFKA-14139)";
        /// A reassignment removes replicas before enough of the new ones are in sync.
        RemoveReplicaBeforeCatchUp, "remove-replica-before-catch-up", "etcd-io/raft#372";
        /// The number of a deleted stream is given to the next new one.
        ReuseStreamId, "reuse-stream-id", "KIP-516 (KAFKA-8872)";
        /// An administrator is told that a change is done once it is proposed.
        AnswerAdminBeforeCommit, "answer-admin-before-commit", "nats-io/nats-server#7564";
    }
}
