//! The model checker: explores *every* history of one small shard, within bounds, and checks every state.
//!
//! ```text
//!   catalog's row ── rows are learned late ──►  real `Replica` × 3 ◄── messages: any order, once, twice or never
//!        ▲                                        │          ▲
//!        └── wishes: arrive late or never ◄───────┘   Write, Truncate, Persist
//!                                                 ▼          │
//!                                           disks: return when they like; a crash keeps any beginning of a batch
//! ```
//!
//! * The replicas are the product's own. [`action::possible`] lists what may happen next; stateright visits every
//!   state that this leads to, once, and asks every rule of [`properties`] there.
//! * [`configuration::Budgets`] keep the space finite: how many crashes, elections, appends … may happen. What costs no
//!   budget may happen at any time. Time itself is an action: a leader finds that it has passed.
//! * A message that is never delivered is a lost one, or one cut off by a partition; a replica that learns no row is a
//!   paused one. A delivery that changes nothing is left out: it may happen later, when it changes something.
//! * A crash and the next start are one step: a broker that is down can't be told from one that does nothing.
//! * [`rows`] are the configurations. [`rows::quick`] is explored to its end by the tests, [`rows::large`] by
//!   `pondage-model-check soak`, up to a bound.
//!
//! What is assumed: a broker registers its start before it opens its shards and goes by the catalog as of that
//! registration; the failover rule is [`catalog::Catalog::plan`]. Both are needed: [`rows::planted`] shows
//! what happens without them.
//!
//! That the rules can fail is tested with mistakes in the world around the replicas ([`configuration::Planted`]). Rules
//! of the protocol itself, broken by hand, and what came of it:
//!
//! | broken | found by |
//! |---|---|
//! | commit and rounds count the granted set only, not the requested one | "the quorum covers the in-sync set" |
//! | answers before the promise is durable | "no answer in an older epoch", where starts hear of the catalog late |
//! | a round confirms decisions that came after it began | "an overtaken leader is silent" |
//! | a follower joins at the high watermark, without an entry of the epoch | "candidates are complete" |
//! | a leader counts commits of older epochs before its own first entry | nothing: all who may be elected hold them |
//! | messages of the epoch before are heard | nothing: whoever follows another leader does not listen |

pub mod action;
pub mod catalog;
pub mod check;
pub mod configuration;
pub mod disk;
pub mod history;
pub mod node;
pub mod properties;
pub mod rows;
pub mod shared;
pub mod story;
pub mod world;
