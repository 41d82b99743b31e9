//! DynamoDB, by the crate `dynoxide-rs` in this process.
//!
//! Carries requests to its calls and its answers back; the two calls about point-in-time recovery, which it does not know, are answered as the service
//! answers for a table that never had it.

use std::fmt;

use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Status and JSON body.
pub(crate) type Answer = (u16, Vec<u8>);

/// The tables.
#[derive(Clone)]
pub(crate) struct DynamoDb(Database);

impl fmt::Debug for DynamoDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DynamoDb")
    }
}

impl DynamoDb {
    /// Empty and in memory.
    pub(crate) fn new() -> Result<Self, DynoxideError> {
        Database::memory().map(Self)
    }

    /// Answers a call. Blocks for as long as the call takes.
    pub(crate) fn call(&self, operation: &str, body: &[u8]) -> Answer {
        let db = &self.0;
        match operation {
            "CreateTable" => run(body, |request| db.create_table(request)),
            "DeleteTable" => run(body, |request| db.delete_table(request)),
            "DescribeTable" => run(body, |request| db.describe_table(request)),
            "ListTables" => run(body, |request| db.list_tables(request)),
            "UpdateTable" => run(body, |request| db.update_table(request)),
            "PutItem" => run(body, |request| db.put_item(request)),
            "GetItem" => run(body, |request| db.get_item(request)),
            "DeleteItem" => run(body, |request| db.delete_item(request)),
            "UpdateItem" => run(body, |request| db.update_item(request)),
            "Query" => run(body, |request| db.query(request)),
            "Scan" => run(body, |request| db.scan(request)),
            "BatchGetItem" => run(body, |request| db.batch_get_item(request)),
            "BatchWriteItem" => run(body, |request| db.batch_write_item(request)),
            "TransactWriteItems" => run(body, |request| db.transact_write_items(request)),
            "TransactGetItems" => run(body, |request| db.transact_get_items(request)),
            "UpdateTimeToLive" => run(body, |request| db.update_time_to_live(request)),
            "DescribeTimeToLive" => run(body, |request| db.describe_time_to_live(request)),
            "ExecuteStatement" => run(body, |request| db.execute_statement(request)),
            "ExecuteTransaction" => run(body, |request| db.execute_transaction(request)),
            "BatchExecuteStatement" => run(body, |request| db.batch_execute_statement(request)),
            "TagResource" => run(body, |request| db.tag_resource(request)),
            "UntagResource" => run(body, |request| db.untag_resource(request)),
            "ListTagsOfResource" => run(body, |request| db.list_tags_of_resource(request)),
            "UpdateContinuousBackups" => continuous_backups(body, true),
            "DescribeContinuousBackups" => continuous_backups(body, false),
            other => error(400, "com.amazon.coral.service#UnknownOperationException", &format!("{other} is not known here")),
        }
    }
}

fn run<Q: DeserializeOwned, A: Serialize>(body: &[u8], call: impl FnOnce(Q) -> Result<A, DynoxideError>) -> Answer {
    let request = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(reason) => return error(400, "com.amazon.coral.service#SerializationException", &reason.to_string()),
    };
    match call(request).map(|answer| serde_json::to_vec(&answer)) {
        Ok(Ok(answer)) => (200, answer),
        Ok(Err(reason)) => error(500, "com.amazonaws.dynamodb.v20120810#InternalServerError", &reason.to_string()),
        Err(refusal) => (refusal.status_code(), refusal.to_json().into_bytes()),
    }
}

/// Says that point-in-time recovery is as asked, or off.
fn continuous_backups(body: &[u8], update: bool) -> Answer {
    let request: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let asked = request.pointer("/PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled").and_then(serde_json::Value::as_bool);
    let status = if update && asked == Some(true) { "ENABLED" } else { "DISABLED" };
    let answer = serde_json::json!({
        "ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": { "PointInTimeRecoveryStatus": status }
        }
    });
    (200, answer.to_string().into_bytes())
}

/// An error body in DynamoDB's form.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Answer {
    (status, serde_json::json!({ "__type": code, "message": message }).to_string().into_bytes())
}
