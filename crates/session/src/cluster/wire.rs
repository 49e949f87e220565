//! Physical plans as bytes.
//!
//! DataFusion writes its own operators; [`PlanCodec`] adds those of Atoll. A call is
//! written as its function's name, its literal arguments and what
//! [`PreparedCall::ship`] gave, and is prepared anew in the process that reads it.

use std::fmt::{self, Debug, Formatter};
use std::io::Cursor;
use std::sync::Arc;

use async_trait::async_trait;
use atoll_udf_common::{
    Call, CallContext, Erased, ExpensiveFunction, Grain, PreparedCall, as_expensive,
};
use datafusion::arrow::array::{
    ArrayRef, RecordBatch, RecordBatchOptions, new_null_array,
};
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::common::{
    Column, Result, ScalarValue, internal_datafusion_err, internal_err,
};
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{Expr, ScalarFunctionArgs, ScalarUDF};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column as PhysicalColumn, Literal};
use datafusion::physical_plan::{ExecutionPlan, Partitioning};
use datafusion_proto::bytes::physical_plan_from_bytes_with_extension_codec;
use datafusion_proto::physical_plan::from_proto::parse_protobuf_partitioning;
use datafusion_proto::physical_plan::to_proto::serialize_partitioning;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use prost::Message;
use tokio::sync::OnceCell;

use super::output::{OutputExec, Target, TaskTerms, Terms};
use super::pieces::PieceExec;
use super::runtime::{PreparedCalls, encode_plan};
use super::stages::{ExchangeExec, Output, PartsExec, Range, ScansExec};
use crate::copy::FolderTarget;
use crate::expensive::{ExpensiveExec, PhysicalCall};
use crate::nulls;
use crate::tables::TableTarget;

/// What the names of functions begin with that no statement can call.
const OWN: &str = "__";

/// The name of the field that carries what a call returns.
const RETURNED: &str = "returned";

/// An operator of Atoll.
#[derive(Clone, PartialEq, Message)]
struct WireNode {
    #[prost(oneof = "WireOperator", tags = "1, 2, 3, 4, 5, 6, 7")]
    operator: Option<WireOperator>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum WireOperator {
    #[prost(message, tag = "1")]
    Calls(WireCalls),
    #[prost(bytes, tag = "2")]
    Scan(Vec<u8>),
    #[prost(message, tag = "3")]
    Piece(WirePiece),
    #[prost(message, tag = "4")]
    Output(WireOutput),
    #[prost(message, tag = "5")]
    Parts(WireParts),
    /// The schema of scans, as an Arrow IPC stream without rows.
    #[prost(bytes, tag = "6")]
    Scans(Vec<u8>),
    #[prost(message, tag = "7")]
    Exchange(WireExchange),
}

/// Ranges of what earlier stages left.
#[derive(Clone, PartialEq, Message)]
struct WireParts {
    #[prost(string, tag = "1")]
    folder: String,
    /// An Arrow IPC stream without rows.
    #[prost(bytes = "vec", tag = "2")]
    schema: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    partitions: Vec<WirePartition>,
    #[prost(bool, tag = "4")]
    is_broadcast: bool,
    #[prost(message, optional, tag = "5")]
    partitioning: Option<protobuf::Partitioning>,
}

#[derive(Clone, PartialEq, Message)]
struct WirePartition {
    #[prost(message, repeated, tag = "1")]
    ranges: Vec<WireRange>,
}

#[derive(Clone, PartialEq, Message)]
struct WireRange {
    #[prost(string, tag = "1")]
    object: String,
    #[prost(uint64, tag = "2")]
    start: u64,
    #[prost(uint64, tag = "3")]
    end: u64,
    #[prost(uint64, tag = "4")]
    rows: u64,
}

/// Where the rows of a task go that another stage reads.
#[derive(Clone, PartialEq, Message)]
struct WireExchange {
    #[prost(message, optional, tag = "1")]
    partitioning: Option<protobuf::Partitioning>,
    #[prost(uint64, repeated, tag = "2")]
    partitions: Vec<u64>,
    #[prost(string, tag = "3")]
    folder: String,
    #[prost(string, tag = "4")]
    name: String,
}

/// Where the rows of a task go.
#[derive(Clone, PartialEq, Message)]
struct WireOutput {
    #[prost(oneof = "WireTarget", tags = "1, 2")]
    target: Option<WireTarget>,
    /// See [`TaskTerms`].
    #[prost(uint64, tag = "3")]
    few: u64,
    #[prost(string, tag = "4")]
    name: String,
}

/// A target, as its own module writes it.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum WireTarget {
    #[prost(bytes, tag = "1")]
    Table(Vec<u8>),
    #[prost(bytes, tag = "2")]
    Folder(Vec<u8>),
}

/// Rows of a Parquet file.
#[derive(Clone, PartialEq, Message)]
struct WirePiece {
    /// The scan of the file.
    #[prost(bytes = "vec", tag = "1")]
    scan: Vec<u8>,
    /// The first of its rows, the row after the last, and how many there are.
    #[prost(uint64, tag = "2")]
    start: u64,
    #[prost(uint64, tag = "3")]
    end: u64,
    #[prost(uint64, tag = "4")]
    total: u64,
    #[prost(string, optional, tag = "5")]
    e_tag: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct WireCalls {
    #[prost(message, repeated, tag = "1")]
    calls: Vec<WireCall>,
    /// The column that names a row's file.
    #[prost(uint32, optional, tag = "2")]
    source: Option<u32>,
}

/// One call.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(super) struct WireCall {
    #[prost(string, tag = "1")]
    function: String,
    /// The name of the column it makes.
    #[prost(string, tag = "2")]
    name: String,
    /// An Arrow IPC stream of one row: the arguments, NULL where they are columns, and
    /// last the type that the call returns.
    #[prost(bytes = "vec", tag = "3")]
    arguments: Vec<u8>,
    /// For each argument the column it is, or -1 for a literal.
    #[prost(sint32, repeated, tag = "4")]
    columns: Vec<i32>,
    /// What the function ships.
    #[prost(bytes = "vec", tag = "5")]
    shipped: Vec<u8>,
}

/// Writes and reads Atoll's operators.
#[derive(Debug)]
pub(super) struct PlanCodec {
    /// Who prepares calls that are read; nobody in a process that only writes.
    pub(super) calls: Option<Arc<PreparedCalls>>,
}

impl PhysicalExtensionCodec for PlanCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let operator = if let Some(exec) = node.downcast_ref::<ExpensiveExec>() {
            let calls = exec.calls().iter().map(encode_call);
            WireOperator::Calls(WireCalls {
                calls: calls.collect::<Result<_>>()?,
                source: exec.source().and_then(|column| u32::try_from(column).ok()),
            })
        } else if let Some(scan) = atoll_udf_blob::encode_scan(node.as_ref()) {
            WireOperator::Scan(scan?)
        } else if let Some(piece) = node.downcast_ref::<PieceExec>() {
            WireOperator::Piece(WirePiece {
                scan: encode_plan(Arc::clone(&piece.scan))?,
                start: piece.rows.start,
                end: piece.rows.end,
                total: piece.total,
                e_tag: piece.e_tag.clone(),
            })
        } else if let Some(output) = node.downcast_ref::<OutputExec>() {
            let TaskTerms { name, few } = output.terms.next();
            WireOperator::Output(WireOutput {
                target: Some(output.target.encode()?),
                few,
                name,
            })
        } else if let Some(parts) = node.downcast_ref::<PartsExec>() {
            let partitioning = parts.properties().output_partitioning();
            let partitioning = serialize_partitioning(partitioning, self, converter)?;
            WireOperator::Parts(encode_parts(parts, partitioning)?)
        } else if node.is::<ScansExec>() {
            WireOperator::Scans(schema_to_ipc(&node.schema())?)
        } else if let Some(exchange) = node.downcast_ref::<ExchangeExec>() {
            let output = &exchange.output;
            let partitioning = output.partitioning.as_ref();
            let partitioning = partitioning.map(|partitioning| {
                serialize_partitioning(partitioning, self, converter)
            });
            WireOperator::Exchange(WireExchange {
                partitioning: partitioning.transpose()?,
                partitions: output.partitions.iter().map(|p| *p as u64).collect(),
                folder: exchange.folder.clone(),
                name: exchange.name.clone(),
            })
        } else {
            return internal_err!("{} cannot be sent to an executor", node.name());
        };
        let node = WireNode {
            operator: Some(operator),
        };
        node.encode(bytes)
            .map_err(|error| internal_datafusion_err!("cannot send a plan: {error}"))
    }

    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        task: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let node = WireNode::decode(bytes)
            .map_err(|error| internal_datafusion_err!("not a plan of Atoll: {error}"))?;
        match (node.operator, inputs) {
            (Some(WireOperator::Calls(calls)), [input]) => {
                let Some(prepared) = &self.calls else {
                    return internal_err!("this process evaluates no calls");
                };
                let schema = input.schema();
                let decode = |call| decode_call(call, &schema, prepared, task);
                let source = calls.source.map(|column| column as usize);
                let calls = calls.calls.iter().map(decode);
                let calls = calls.collect::<Result<_>>()?;
                let exec = ExpensiveExec::try_new(calls, source, Arc::clone(input))?;
                Ok(Arc::new(exec))
            }
            (Some(WireOperator::Scan(scan)), []) => {
                let context = CallContext::of(task.session_config());
                atoll_udf_blob::decode_scan(&scan, &context)
            }
            (Some(WireOperator::Piece(piece)), []) => {
                let rows = piece.start..piece.end;
                let scan = &piece.scan;
                let scan =
                    physical_plan_from_bytes_with_extension_codec(scan, task, self)?;
                Ok(Arc::new(PieceExec::new(
                    scan,
                    rows,
                    piece.total,
                    piece.e_tag,
                )))
            }
            (Some(WireOperator::Output(output)), [input]) => {
                let target: Arc<dyn Target> = match output.target {
                    Some(WireTarget::Table(table)) => {
                        Arc::new(TableTarget::decode(&table, task)?)
                    }
                    Some(WireTarget::Folder(folder)) => {
                        let Some(prepared) = &self.calls else {
                            return internal_err!("this process writes no files");
                        };
                        Arc::new(FolderTarget::decode(&folder, prepared.state())?)
                    }
                    None => return internal_err!("an output without a target"),
                };
                let (name, few) = (output.name, output.few);
                let terms = Terms::Task(TaskTerms { name, few });
                Ok(Arc::new(OutputExec::new(Arc::clone(input), target, terms)))
            }
            (Some(WireOperator::Parts(parts)), []) => {
                let schema = schema_from_ipc(&parts.schema)?;
                let decode = PhysicalPlanDecodeContext::new(task, self);
                let partitioning = parse_protobuf_partitioning(
                    parts.partitioning.as_ref(),
                    &decode,
                    &schema,
                    converter,
                )?;
                let Some(partitioning) = partitioning else {
                    return internal_err!("ranges without their partitioning");
                };
                Ok(Arc::new(decode_parts(parts, schema, partitioning)))
            }
            (Some(WireOperator::Scans(schema)), [input]) => {
                let schema = schema_from_ipc(&schema)?;
                Ok(Arc::new(ScansExec::new(Arc::clone(input), schema)))
            }
            (Some(WireOperator::Exchange(exchange)), [input]) => {
                let Some(prepared) = &self.calls else {
                    return internal_err!("this process exchanges no rows");
                };
                let decode = PhysicalPlanDecodeContext::new(task, self);
                let partitioning = parse_protobuf_partitioning(
                    exchange.partitioning.as_ref(),
                    &decode,
                    &input.schema(),
                    converter,
                )?;
                let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
                let output = Output {
                    partitioning,
                    partitions: exchange.partitions.into_iter().map(index).collect(),
                };
                Ok(Arc::new(ExchangeExec::new(
                    Arc::clone(input),
                    output,
                    (exchange.folder, exchange.name),
                    Some(prepared.exchange()),
                )))
            }
            _ => internal_err!("not an operator of Atoll"),
        }
    }

    /// Executors have the functions of every session and those of [`nulls`]; what else a
    /// plan calls exists in this process only.
    fn try_encode_udf(&self, node: &ScalarUDF, _bytes: &mut Vec<u8>) -> Result<()> {
        let name = node.name();
        match name.starts_with(OWN) && nulls::by_name(name).is_none() {
            true => internal_err!("{name} runs on the client only"),
            false => Ok(()),
        }
    }

    /// What no statement can call is no function of the session, and comes from here.
    fn try_decode_udf(&self, name: &str, _bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        nulls::by_name(name)
            .ok_or_else(|| internal_datafusion_err!("no function is called {name}"))
    }
}

fn encode_parts(
    parts: &PartsExec,
    partitioning: protobuf::Partitioning,
) -> Result<WireParts> {
    let range = |range: &Range| WireRange {
        object: range.object.clone(),
        start: range.start,
        end: range.end,
        rows: range.rows,
    };
    let partitions = parts.partitions.iter().map(|ranges| WirePartition {
        ranges: ranges.iter().map(range).collect(),
    });
    Ok(WireParts {
        folder: parts.folder.clone(),
        schema: schema_to_ipc(&parts.schema())?,
        partitions: partitions.collect(),
        is_broadcast: parts.is_broadcast,
        partitioning: Some(partitioning),
    })
}

fn decode_parts(
    parts: WireParts,
    schema: SchemaRef,
    partitioning: Partitioning,
) -> PartsExec {
    let range = |range: WireRange| Range {
        object: range.object,
        start: range.start,
        end: range.end,
        rows: range.rows,
    };
    let partitions = parts.partitions.into_iter();
    let partitions =
        partitions.map(|partition| partition.ranges.into_iter().map(range).collect());
    let folder = &parts.folder;
    let partitions = partitions.collect();
    PartsExec::new(folder, schema, partitions, parts.is_broadcast, partitioning)
}

fn encode_call(call: &PhysicalCall) -> Result<WireCall> {
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut values: Vec<ArrayRef> = Vec::new();
    let mut columns = Vec::new();
    for (arg, field) in call.args.iter().zip(&call.arg_fields) {
        let (value, column) = match arg.downcast_ref::<Literal>() {
            Some(literal) => (literal.value().to_array_of_size(1)?, -1),
            None => match arg.downcast_ref::<PhysicalColumn>() {
                Some(column) => (
                    new_null_array(field.data_type(), 1),
                    i32::try_from(column.index()).unwrap_or(i32::MAX),
                ),
                None => {
                    return internal_err!("an argument is neither literal nor column");
                }
            },
        };
        // Of the value and not of the field: a literal NULL has the type Null.
        let data_type = value.data_type().clone();
        let field = field.as_ref().clone().with_data_type(data_type);
        fields.push(Arc::new(field.with_nullable(true)));
        values.push(value);
        columns.push(column);
    }
    let returned = call.return_field.as_ref().clone().with_name(RETURNED);
    values.push(new_null_array(returned.data_type(), 1));
    fields.push(Arc::new(returned.with_nullable(true)));
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new_with_options(schema, values, &options)?;
    Ok(WireCall {
        function: call.function.clone(),
        name: call.name.clone(),
        arguments: to_ipc(&batch)?,
        columns,
        shipped: call.shipped.clone().unwrap_or_default(),
    })
}

fn decode_call(
    wire: &WireCall,
    input: &SchemaRef,
    prepared: &Arc<PreparedCalls>,
    task: &TaskContext,
) -> Result<PhysicalCall> {
    let batch = from_ipc(&wire.arguments)?;
    let schema = batch.schema();
    let Some((return_field, arg_fields)) = schema.fields().split_last() else {
        return internal_err!("a call without what it returns");
    };
    let mut args: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    let mut exprs = Vec::new();
    for (n, column) in wire.columns.iter().enumerate() {
        match usize::try_from(*column) {
            Err(_) => {
                let value = ScalarValue::try_from_array(batch.column(n), 0)?;
                exprs.push(Expr::Literal(value.clone(), None));
                args.push(Arc::new(Literal::new(value)));
            }
            Ok(column) => {
                let name = input.field(column).name();
                exprs.push(Expr::Column(Column::new_unqualified(name)));
                args.push(Arc::new(PhysicalColumn::new(name, column)));
            }
        }
    }
    let function = task
        .scalar_functions()
        .get(&wire.function)
        .and_then(|udf| as_expensive(udf).cloned());
    let Some(function) = function else {
        return internal_err!("this executor has no function {}", wire.function);
    };
    let (arg_fields, return_field) = (arg_fields.to_vec(), Arc::clone(return_field));
    let (name, shown) = (wire.name.clone(), wire.function.clone());
    let receive = |session| Received {
        function,
        args: Erased::new(exprs),
        arg_fields: arg_fields.clone(),
        return_field: Arc::clone(&return_field),
        shipped: wire.shipped.clone(),
        session: Erased::new(session),
        prepared: OnceCell::new(),
    };
    let received = prepared.shared(&wire.encode_to_vec(), task.session_config(), receive);
    Ok(PhysicalCall {
        function: shown,
        name,
        prepared: received,
        args,
        arg_fields,
        return_field,
        grain: Grain::Groups,
        shipped: None,
    })
}

/// A call from another process, prepared by its first rows.
pub(super) struct Received {
    function: Arc<dyn ExpensiveFunction>,
    args: Erased<Vec<Expr>>,
    arg_fields: Vec<FieldRef>,
    return_field: FieldRef,
    shipped: Vec<u8>,
    session: Erased<SessionState>,
    prepared: OnceCell<Arc<dyn PreparedCall>>,
}

/// Without the session, which prints its whole catalog.
impl Debug for Received {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut call = f.debug_struct("Received");
        call.field("args", &*self.args).finish_non_exhaustive()
    }
}

impl Received {
    async fn prepared(&self) -> Result<&Arc<dyn PreparedCall>> {
        let call = Call {
            args: &self.args,
            arg_fields: &self.arg_fields,
            return_field: &self.return_field,
            session: &self.session,
        };
        let prepare = || self.function.receive(&call, &self.shipped);
        self.prepared.get_or_try_init(prepare).await
    }
}

#[async_trait]
impl PreparedCall for Received {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        self.prepared().await?.invoke(args, context).await
    }

    async fn give_up(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
        reason: &str,
    ) -> Result<ArrayRef> {
        self.prepared().await?.give_up(args, context, reason).await
    }
}

/// A record batch as an Arrow IPC stream.
pub(super) fn to_ipc(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema())?;
    writer.write(batch)?;
    writer.finish()?;
    drop(writer);
    Ok(bytes)
}

/// A schema as an Arrow IPC stream without rows.
fn schema_to_ipc(schema: &SchemaRef) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    StreamWriter::try_new(&mut bytes, schema)?.finish()?;
    Ok(bytes)
}

fn schema_from_ipc(bytes: &[u8]) -> Result<SchemaRef> {
    Ok(StreamReader::try_new(Cursor::new(bytes), None)?.schema())
}

/// The only record batch of an Arrow IPC stream.
pub(super) fn from_ipc(bytes: &[u8]) -> Result<RecordBatch> {
    let mut reader = StreamReader::try_new(Cursor::new(bytes), None)?;
    match reader.next() {
        Some(batch) => Ok(batch?),
        None => internal_err!("a message without rows"),
    }
}
