//! Physical plans as bytes.
//!
//! DataFusion writes its own operators; [`PlanCodec`] adds those of Atoll. A call is
//! written as its function's name, its literal arguments and what
//! [`PreparedCall::ship`] gave, and is prepared anew in the process that reads it.

use std::fmt::{self, Debug, Formatter};
use std::io::Cursor;
use std::sync::Arc;

use async_trait::async_trait;
use atoll_udf_blob::{ListExec, Part, PartColumn, ReadFilesExec};
use atoll_udf_common::{
    Call, CallContext, Erased, ExpensiveFunction, Grain, PreparedCall, SharedCall,
    as_expensive,
};
use datafusion::arrow::array::{
    ArrayRef, RecordBatch, RecordBatchOptions, new_null_array,
};
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::common::{
    Column, Result, ScalarValue, exec_err, internal_datafusion_err, internal_err,
};
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{Expr, ScalarFunctionArgs, ScalarUDF};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column as PhysicalColumn, Literal};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::bytes::physical_plan_from_bytes_with_extension_codec;
use datafusion_proto::physical_plan::from_proto::parse_physical_exprs;
use datafusion_proto::physical_plan::to_proto::serialize_physical_exprs;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use prost::Message;
use tokio::sync::OnceCell;

use super::listings::ListingTarget;
use super::messages::{
    WireCall, WireCalls, WireChecks, WireNode, WireOperator, WireOutput, WirePart,
    WirePiece, WireReads, WireTarget,
};
use super::output::{OutputExec, Target, TaskTerms, Terms};
use super::pieces::PieceExec;
use super::runtime::{PreparedCalls, encode_plan};
use super::stages::{self, PartsExec, ScansExec, ShuffleExec};
use crate::checks::CheckExec;
use crate::copy::FolderTarget;
use crate::expensive::{ExpensiveExec, PhysicalCall};
use crate::tables::TableTarget;
use crate::{nans, nulls};

/// What the names of functions begin with that no statement can call.
const OWN: &str = "__";

/// The name of the field that carries what a call returns.
const RETURNED: &str = "returned";

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
        } else if let Some(listing) = node.downcast_ref::<ListExec>() {
            WireOperator::Listing(listing.encode()?)
        } else if let Some(reads) = node.downcast_ref::<ReadFilesExec>() {
            WireOperator::Reads(encode_reads(reads))
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
            WireOperator::Parts(stages::encode_parts(parts, self, converter)?)
        } else if node.is::<ScansExec>() {
            WireOperator::Scans(schema_to_ipc(&node.schema())?)
        } else if let Some(shuffle) = node.downcast_ref::<ShuffleExec>() {
            WireOperator::Shuffle(stages::encode_shuffle(shuffle, self, converter)?)
        } else if let Some(checks) = node.downcast_ref::<CheckExec>() {
            let checks = serialize_physical_exprs(checks.checks(), self, converter)?;
            WireOperator::Checks(WireChecks { checks })
        } else {
            return exec_err!("{} cannot be sent to an executor", node.name());
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
            (Some(WireOperator::Listing(listing)), []) => {
                Ok(Arc::new(ListExec::decode(&listing)?))
            }
            (Some(WireOperator::Reads(reads)), [input]) => {
                Ok(Arc::new(decode_reads(&reads, Arc::clone(input))?))
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
                let input = Arc::clone(input);
                Ok(Arc::new(self.decode_output(output, input, task)?))
            }
            (Some(WireOperator::Parts(parts)), []) => {
                let parts = stages::decode_parts(parts, task, self, converter)?;
                Ok(Arc::new(parts))
            }
            (Some(WireOperator::Scans(schema)), [input]) => {
                let schema = schema_from_ipc(&schema)?;
                Ok(Arc::new(ScansExec::new(Arc::clone(input), schema)))
            }
            (Some(WireOperator::Shuffle(shuffle)), [input]) => {
                let Some(prepared) = &self.calls else {
                    return internal_err!("this process shuffles no rows");
                };
                let by = prepared.shuffle();
                let input = Arc::clone(input);
                let shuffle = (shuffle, input, by);
                let exec = stages::decode_shuffle(shuffle, task, self, converter)?;
                Ok(Arc::new(exec))
            }
            (Some(WireOperator::Checks(wire)), [input]) => {
                let decode = PhysicalPlanDecodeContext::new(task, self);
                let schema = input.schema();
                let checks =
                    parse_physical_exprs(&wire.checks, &decode, &schema, converter)?;
                Ok(Arc::new(CheckExec::new(checks, Arc::clone(input))))
            }
            _ => internal_err!("not an operator of Atoll"),
        }
    }

    /// Executors have the functions of every session and those of [`own_function`]; what
    /// else a plan calls exists in this process only.
    fn try_encode_udf(&self, node: &ScalarUDF, _bytes: &mut Vec<u8>) -> Result<()> {
        let name = node.name();
        match name.starts_with(OWN) && own_function(name).is_none() {
            true => exec_err!("{name} runs on the client only"),
            false => Ok(()),
        }
    }

    /// What no statement can call is no function of the session, and comes from here.
    fn try_decode_udf(&self, name: &str, _bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        own_function(name)
            .ok_or_else(|| internal_datafusion_err!("no function is called {name}"))
    }
}

/// A function that no statement can call, by its name.
fn own_function(name: &str) -> Option<Arc<ScalarUDF>> {
    let of_tables = || atoll_delta::row_number(name).map(Arc::new);
    let of_rules = nulls::by_name(name).or_else(|| nans::by_name(name));
    of_rules.or_else(of_tables)
}

impl PlanCodec {
    fn decode_output(
        &self,
        output: WireOutput,
        input: Arc<dyn ExecutionPlan>,
        task: &TaskContext,
    ) -> Result<OutputExec> {
        let Some(prepared) = &self.calls else {
            return internal_err!("this process writes no files");
        };
        let target: Arc<dyn Target> = match output.target {
            Some(WireTarget::Table(table)) => {
                Arc::new(TableTarget::decode(&table, task)?)
            }
            Some(WireTarget::Folder(folder)) => {
                Arc::new(FolderTarget::decode(&folder, prepared.state())?)
            }
            Some(WireTarget::Listing(folder)) => {
                Arc::new(ListingTarget::decode(&folder)?)
            }
            None => return internal_err!("an output without a target"),
        };
        let (name, few) = (output.name, output.few);
        let terms = Terms::Task(TaskTerms { name, few });
        Ok(OutputExec::new(input, target, terms))
    }
}

fn encode_reads(reads: &ReadFilesExec) -> WireReads {
    let columns = reads.columns().iter().map(|column| WirePart {
        part: column.part as u32,
        is_read: column.is_read,
        nullable: column.nullable,
    });
    WireReads {
        filename: u32::try_from(reads.filename()).unwrap_or(u32::MAX),
        columns: columns.collect(),
    }
}

fn decode_reads(
    reads: &WireReads,
    input: Arc<dyn ExecutionPlan>,
) -> Result<ReadFilesExec> {
    let columns = reads.columns.iter().map(|column| {
        let part = Part::ALL
            .into_iter()
            .find(|part| *part as u32 == column.part);
        let Some(part) = part else {
            return internal_err!("a file has no part {}", column.part);
        };
        Ok(PartColumn {
            part,
            is_read: column.is_read,
            nullable: column.nullable,
        })
    });
    let filename = reads.filename as usize;
    if filename >= input.schema().fields().len() {
        return internal_err!("files without a column of names");
    }
    let columns = columns.collect::<Result<_>>()?;
    Ok(ReadFilesExec::new(input, filename, columns, None))
}

pub(super) fn encode_call(call: &PhysicalCall) -> Result<WireCall> {
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

    async fn shared(&self) -> Result<Option<Arc<dyn SharedCall>>> {
        self.prepared().await?.shared().await
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

/// The columns of a record batch under the schema of a plan. There may be none, as below
/// `count(*)`, and still there are rows.
pub(super) fn under(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().to_vec();
    let schema = Arc::clone(schema);
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
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
pub(super) fn schema_to_ipc(schema: &SchemaRef) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    StreamWriter::try_new(&mut bytes, schema)?.finish()?;
    Ok(bytes)
}

pub(super) fn schema_from_ipc(bytes: &[u8]) -> Result<SchemaRef> {
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
