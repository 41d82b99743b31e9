//! The lease table in DynamoDB.
//!
//! Rows are only ever changed by UpdateItem with a condition, created by PutItem on an absent key, and removed by a conditional
//! DeleteItem. The client given must make one attempt a call: who retries, and after which read, is decided above.

use super::change::{Action, Update};
use super::row::{CHECKPOINT, CHILDREN, COUNTER, Item, LEASE_KEY, Lease, OWNER, shard_set};
use super::table::{Created, Ensured, LeaseTable, TableRow, Written};
use crate::config::BillingMode;
use crate::ids::ShardId;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode as Billing, KeySchemaElement, KeyType, ProvisionedThroughput, ReturnValue,
    ReturnValuesOnConditionCheckFailure, ScalarAttributeType, TableDescription, TableStatus,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use connector_aws::{Call, service_code};
use connector_sdk::{Error, ErrorKind};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// First pause between looks at a table that is being created; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest wait for a table to become usable.
const TABLE_DEADLINE: Duration = Duration::from_secs(600);

/// A lease table in DynamoDB.
pub struct DynamoDbTable {
    client: Client,
    name: String,
    consistent_scans: bool,
    region: String,
}

impl DynamoDbTable {
    /// The table `name`. `consistent_scans`: whether scans cost twice as much and miss nothing; all other reads are consistent anyway.
    pub fn new(client: Client, name: impl Into<String>, consistent_scans: bool) -> Self {
        let region = client.config().region().map_or_else(|| "no region".to_owned(), ToString::to_string);
        Self { client, name: name.into(), consistent_scans, region }
    }

    fn call<'a>(&'a self, action: &'a str, table: &'a str) -> Call<'a> {
        Call::new(action, "table", table, &self.region)
    }

    async fn describe(&self, table: &str) -> Result<Option<TableDescription>, Error> {
        match self.client.describe_table().table_name(table).send().await {
            Ok(answer) => Ok(answer.table),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.call("dynamodb:DescribeTable", table).failed(&error)),
        }
    }

    /// Creates the table. None: somebody else is doing it.
    async fn create_table(&self, billing: BillingMode) -> Result<Option<TableDescription>, Error> {
        let key = KeySchemaElement::builder().attribute_name(LEASE_KEY).key_type(KeyType::Hash).build().expect("name and type are given");
        let attribute = AttributeDefinition::builder()
            .attribute_name(LEASE_KEY)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .expect("name and type are given");
        let request = self.client.create_table().table_name(&self.name).key_schema(key).attribute_definitions(attribute);
        let request = match billing {
            BillingMode::PayPerRequest => request.billing_mode(Billing::PayPerRequest),
            BillingMode::Provisioned { read, write } => {
                let throughput = ProvisionedThroughput::builder().read_capacity_units(read.into()).write_capacity_units(write.into());
                request.billing_mode(Billing::Provisioned).provisioned_throughput(throughput.build().expect("both capacities are given"))
            }
        };
        match request.send().await {
            Ok(answer) => Ok(answer.table_description),
            Err(error) if service_code(&error).is_some_and(|code| code.ends_with("ResourceInUseException")) => Ok(None),
            Err(error) => Err(self.call("dynamodb:CreateTable", &self.name).failed(&error)),
        }
    }

    async fn ensure_table(&self, billing: BillingMode) -> Result<Ensured, Error> {
        let deadline = Instant::now() + TABLE_DEADLINE;
        let mut pause = FIRST_PAUSE;
        let mut ensured = Ensured::Existed;
        loop {
            let mut table = self.describe(&self.name).await?;
            if table.is_none() {
                table = self.create_table(billing).await?;
                ensured = Ensured::Created;
            }
            if let Some(table) = table {
                self.check_key(&table)?;
                // A table that is being changed can be used meanwhile.
                if matches!(table.table_status, Some(TableStatus::Active | TableStatus::Updating)) {
                    return Ok(ensured);
                }
            }
            if Instant::now() >= deadline {
                return Err(Error::transient(format!("table `{}` did not become usable within {} s", self.name, TABLE_DEADLINE.as_secs())));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether it is a lease table: hash key `leaseKey` of type S and no range key.
    fn check_key(&self, table: &TableDescription) -> Result<(), Error> {
        let Some(keys) = &table.key_schema else { return Ok(()) };
        let is_ours = |key: &KeySchemaElement| key.attribute_name == LEASE_KEY && key.key_type == KeyType::Hash;
        let is_text =
            |attribute: &AttributeDefinition| attribute.attribute_name != LEASE_KEY || attribute.attribute_type == ScalarAttributeType::S;
        if matches!(&keys[..], [key] if is_ours(key)) && table.attribute_definitions().iter().all(is_text) {
            return Ok(());
        }
        let found: Vec<String> = keys.iter().map(|key| format!("`{}` ({})", key.attribute_name, key.key_type.as_str())).collect();
        Err(Error::configuration(format!(
            "table `{}` in `{}` is no lease table: its key is {}, and a lease table's is `{LEASE_KEY}` (HASH) of type S alone",
            self.name,
            self.region,
            found.join(" and ")
        ))
        .with_hint("choose another `applicationName` or `leaseTableName`"))
    }

    async fn scan_items(&self, table: &str) -> Result<Option<Vec<Item>>, Error> {
        let mut items = Vec::new();
        let mut from = None;
        loop {
            let request = self.client.scan().table_name(table).consistent_read(self.consistent_scans).set_exclusive_start_key(from);
            let answer = match request.send().await {
                Ok(answer) => answer,
                Err(error) if is_absent(&error) => return Ok(None),
                Err(error) => return Err(self.call("dynamodb:Scan", table).failed(&error)),
            };
            items.extend(answer.items.unwrap_or_default());
            from = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                return Ok(Some(items));
            }
        }
    }

    fn decode(&self, item: &Item) -> Result<Option<Lease>, Error> {
        Lease::decode(item).map_err(|error| Error::new(ErrorKind::Data, format!("{error} in table `{}`", self.name)))
    }

    async fn update_row(&self, update: &Update) -> Result<Written, Error> {
        let request = self.client.update_item().table_name(&self.name).key(LEASE_KEY, AttributeValue::S(update.shard.to_string()));
        let request = with_update(request, update)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.send().await {
            Ok(answer) => match answer.attributes.and_then(|item| self.decode(&item).ok().flatten()) {
                Some(row) => Ok(Written::Applied(Box::new(row))),
                // Written, but it does not say what, or not readably: the same as no answer. The consistent read that follows says why.
                None => Ok(Written::Unknown(Error::transient(format!("table `{}` did not answer with the row", self.name)))),
            },
            Err(error) => {
                if let Some(UpdateItemError::ConditionalCheckFailedException(refused)) = error.as_service_error() {
                    // A row that cannot be read is left to the consistent read that follows, which says so.
                    let row = refused.item().and_then(|item| Lease::decode(item).ok().flatten());
                    return Ok(Written::Refused(row.map(Box::new)));
                }
                let error = self.call("dynamodb:UpdateItem", &self.name).failed(&error);
                if may_have_landed(&error) { Ok(Written::Unknown(error)) } else { Err(error) }
            }
        }
    }
}

/// Puts condition and actions into the request's expressions. Names are aliased: some are reserved words.
fn with_update(request: UpdateItemFluentBuilder, update: &Update) -> UpdateItemFluentBuilder {
    let mut request = request;
    let (mut set, mut add, mut remove) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (name, action)) in update.actions().into_iter().enumerate() {
        request = request.expression_attribute_names(format!("#a{index}"), name);
        match action {
            Action::Set(value) => {
                set.push(format!("#a{index} = :a{index}"));
                request = request.expression_attribute_values(format!(":a{index}"), value);
            }
            Action::Add(more) => {
                add.push(format!("#a{index} :a{index}"));
                request = request.expression_attribute_values(format!(":a{index}"), AttributeValue::N(more.to_string()));
            }
            Action::Remove => remove.push(format!("#a{index}")),
        }
    }
    let clauses: Vec<String> = [("SET", set), ("ADD", add), ("REMOVE", remove)]
        .into_iter()
        .filter(|(_, parts)| !parts.is_empty())
        .map(|(verb, parts)| format!("{verb} {}", parts.join(", ")))
        .collect();
    let mut condition = "#counter = :counter".to_owned();
    request = request
        .expression_attribute_names("#counter", COUNTER)
        .expression_attribute_values(":counter", AttributeValue::N(update.counter.to_string()));
    if let Some(owner) = &update.owner {
        condition.push_str(" AND #owner = :owner");
        request =
            request.expression_attribute_names("#owner", OWNER).expression_attribute_values(":owner", AttributeValue::S(owner.to_string()));
    }
    request.update_expression(clauses.join(" ")).condition_expression(condition)
}

/// Whether a write that failed like this may be in the table all the same, or come to it yet.
fn may_have_landed(error: &Error) -> bool {
    error.kind() == ErrorKind::Transient
}

fn is_absent<E: aws_smithy_types::error::metadata::ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    service_code(error).is_some_and(|code| code.ends_with("ResourceNotFoundException"))
}

fn is_refused<E: aws_smithy_types::error::metadata::ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    service_code(error).is_some_and(|code| code.ends_with("ConditionalCheckFailedException"))
}

impl LeaseTable for DynamoDbTable {
    fn name(&self) -> &str {
        &self.name
    }

    fn exists<'a>(&'a self, table: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        async move { Ok(self.describe(table).await?.is_some()) }.boxed()
    }

    fn ensure(&self, billing: BillingMode) -> BoxFuture<'_, Result<Ensured, Error>> {
        self.ensure_table(billing).boxed()
    }

    fn scan(&self) -> BoxFuture<'_, Result<Vec<TableRow>, Error>> {
        async move {
            let items = self
                .scan_items(&self.name)
                .await?
                .ok_or_else(|| Error::configuration(format!("the lease table `{}` in `{}` is gone", self.name, self.region)))?;
            Ok(items.into_iter().map(TableRow::from_item).collect())
        }
        .boxed()
    }

    fn get<'a>(&'a self, shard: &'a ShardId) -> BoxFuture<'a, Result<Option<Lease>, Error>> {
        async move {
            let request = self.client.get_item().table_name(&self.name).key(LEASE_KEY, AttributeValue::S(shard.to_string()));
            let answer =
                request.consistent_read(true).send().await.map_err(|error| self.call("dynamodb:GetItem", &self.name).failed(&error))?;
            answer.item.map(|item| self.decode(&item)).transpose().map(Option::flatten)
        }
        .boxed()
    }

    fn create<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<Created, Error>> {
        async move {
            let request = self.client.put_item().table_name(&self.name).set_item(Some(lease.encode()));
            let sent =
                request.condition_expression("attribute_not_exists(#key)").expression_attribute_names("#key", LEASE_KEY).send().await;
            match sent {
                Ok(_) => Ok(Created::New),
                Err(error) if is_refused(&error) => Ok(Created::Existed),
                Err(error) => {
                    let error = self.call("dynamodb:PutItem", &self.name).failed(&error);
                    if may_have_landed(&error) { Ok(Created::Unknown(error)) } else { Err(error) }
                }
            }
        }
        .boxed()
    }

    fn update<'a>(&'a self, update: &'a Update) -> BoxFuture<'a, Result<Written, Error>> {
        self.update_row(update).boxed()
    }

    fn put_children<'a>(&'a self, shard: &'a ShardId, children: &'a [ShardId]) -> BoxFuture<'a, Result<bool, Error>> {
        async move {
            let request = self.client.update_item().table_name(&self.name).key(LEASE_KEY, AttributeValue::S(shard.to_string()));
            let sent = request
                .update_expression("SET #children = :children")
                .condition_expression("attribute_exists(#key)")
                .expression_attribute_names("#children", CHILDREN)
                .expression_attribute_names("#key", LEASE_KEY)
                .expression_attribute_values(":children", shard_set(children))
                .send()
                .await;
            match sent {
                Ok(_) => Ok(true),
                Err(error) if is_refused(&error) => Ok(false),
                Err(error) => Err(self.call("dynamodb:UpdateItem", &self.name).failed(&error)),
            }
        }
        .boxed()
    }

    fn delete<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<bool, Error>> {
        async move {
            let request = self.client.delete_item().table_name(&self.name).key(LEASE_KEY, AttributeValue::S(lease.shard.to_string()));
            let sent = request
                .condition_expression("#counter = :counter AND #checkpoint = :end")
                .expression_attribute_names("#counter", COUNTER)
                .expression_attribute_names("#checkpoint", CHECKPOINT)
                .expression_attribute_values(":counter", AttributeValue::N(lease.counter.to_string()))
                .expression_attribute_values(":end", AttributeValue::S("SHARD_END".to_owned()))
                .send()
                .await;
            match sent {
                Ok(_) => Ok(true),
                Err(error) if is_refused(&error) => Ok(false),
                Err(error) => Err(self.call("dynamodb:DeleteItem", &self.name).failed(&error)),
            }
        }
        .boxed()
    }

    fn side_rows<'a>(&'a self, table: &'a str) -> BoxFuture<'a, Result<Option<Vec<Item>>, Error>> {
        self.scan_items(table).boxed()
    }
}
