//! A compare-and-set on a lease row: on which counter and owner, and what it changes.
//!
//! Both tables carry out the same list of [`Action`]s, so that what the table in memory does is what DynamoDB is told. Attributes
//! that are not in the list are never touched.

use super::attribute::{NAME as PULSAR_CONNECT, PulsarConnect};
use super::row::{CHECKPOINT, CHECKPOINT_OWNER, COUNTER, OWNER, PENDING, PENDING_STATE, PENDING_SUB, SUB_SEQUENCE, SWITCHES};
use crate::ids::{Checkpoint, ShardId};
use aws_sdk_dynamodb::types::AttributeValue;
use bytestring::ByteString;

/// One compare-and-set.
#[derive(Debug, Clone)]
pub struct Update {
    /// The row.
    pub shard: ShardId,
    /// The counter it must have; it goes up by one.
    pub counter: u64,
    /// The owner it must have, where that is part of the condition.
    pub owner: Option<ByteString>,
    /// What else changes.
    pub change: Change,
}

/// What a write changes beside the counter.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The owner.
    pub owner: OwnerChange,
    /// A checkpoint; also sets the owner switches to 0 and removes a pending checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// Our attribute.
    pub attribute: Option<PulsarConnect>,
}

/// What a write does to the owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OwnerChange {
    /// Nothing.
    #[default]
    Keep,
    /// A take: this owner, no `checkpointOwner`, one switch more if there was another owner.
    Take {
        /// The new owner.
        worker: ByteString,
        /// Whether there was another one.
        from_another: bool,
    },
    /// No owner.
    Clear,
}

/// What is done to one attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Gets this value.
    Set(AttributeValue),
    /// Goes up by this number; absent counts as 0.
    Add(u64),
    /// Goes away, if it is there.
    Remove,
}

impl Update {
    /// The counter after it.
    pub fn next_counter(&self) -> u64 {
        self.counter.saturating_add(1)
    }

    /// Each attribute at most once.
    pub fn actions(&self) -> Vec<(&'static str, Action)> {
        let text = |text: &str| Action::Set(AttributeValue::S(text.to_owned()));
        let number = |number: u64| Action::Set(AttributeValue::N(number.to_string()));
        let mut actions = vec![(COUNTER, number(self.next_counter()))];
        match &self.change.owner {
            OwnerChange::Keep => {}
            OwnerChange::Take { worker, from_another } => {
                actions.push((OWNER, text(worker)));
                actions.push((CHECKPOINT_OWNER, Action::Remove));
                if *from_another && self.change.checkpoint.is_none() {
                    actions.push((SWITCHES, Action::Add(1)));
                }
            }
            OwnerChange::Clear => actions.push((OWNER, Action::Remove)),
        }
        if let Some(checkpoint) = &self.change.checkpoint {
            actions.push((CHECKPOINT, text(checkpoint.text())));
            actions.push((SUB_SEQUENCE, number(checkpoint.sub())));
            actions.push((SWITCHES, number(0)));
            actions.extend([PENDING, PENDING_SUB, PENDING_STATE].map(|name| (name, Action::Remove)));
        }
        if let Some(attribute) = &self.change.attribute {
            actions.push((PULSAR_CONNECT, text(&attribute.text())));
        }
        actions
    }
}
