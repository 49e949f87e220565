//! What stages read and leave, as bytes.

use std::sync::Arc;

use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::from_proto::parse_protobuf_partitioning;
use datafusion_proto::physical_plan::to_proto::serialize_partitioning;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};

use super::{Output, PartsExec, Range, Shuffle, ShuffleExec};
use crate::cluster::messages::{WirePartition, WireParts, WireRange, WireShuffle};
use crate::cluster::wire::{schema_from_ipc, schema_to_ipc};

pub(in crate::cluster) fn encode_parts(
    parts: &PartsExec,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
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
    let partitioning = parts.properties().output_partitioning();
    let partitioning = serialize_partitioning(partitioning, codec, converter)?;
    Ok(WireParts {
        folder: parts.folder.clone(),
        schema: schema_to_ipc(&parts.schema())?,
        partitions: partitions.collect(),
        is_broadcast: parts.is_broadcast,
        partitioning: Some(partitioning),
    })
}

pub(in crate::cluster) fn decode_parts(
    parts: WireParts,
    task: &TaskContext,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<PartsExec> {
    let schema = schema_from_ipc(&parts.schema)?;
    let decode = PhysicalPlanDecodeContext::new(task, codec);
    let wire = parts.partitioning.as_ref();
    let partitioning = parse_protobuf_partitioning(wire, &decode, &schema, converter)?;
    let Some(partitioning) = partitioning else {
        return internal_err!("ranges without their partitioning");
    };
    let range = |range: WireRange| Range {
        object: range.object,
        start: range.start,
        end: range.end,
        rows: range.rows,
    };
    let partitions = parts.partitions.into_iter();
    let partitions =
        partitions.map(|partition| partition.ranges.into_iter().map(range).collect());
    Ok(PartsExec::new(
        &parts.folder,
        schema,
        partitions.collect(),
        parts.is_broadcast,
        partitioning,
    ))
}

pub(in crate::cluster) fn encode_shuffle(
    shuffle: &ShuffleExec,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<WireShuffle> {
    let output = &shuffle.output;
    let partitioning = output.partitioning.as_ref();
    let partitioning = partitioning
        .map(|partitioning| serialize_partitioning(partitioning, codec, converter));
    Ok(WireShuffle {
        partitioning: partitioning.transpose()?,
        partitions: output.partitions.iter().map(|p| *p as u64).collect(),
        folder: shuffle.folder.clone(),
        name: shuffle.name.clone(),
    })
}

pub(in crate::cluster) fn decode_shuffle(
    (wire, input, by): (WireShuffle, Arc<dyn ExecutionPlan>, Arc<dyn Shuffle>),
    task: &TaskContext,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<ShuffleExec> {
    let decode = PhysicalPlanDecodeContext::new(task, codec);
    let partitioning = wire.partitioning.as_ref();
    let schema = input.schema();
    let partitioning =
        parse_protobuf_partitioning(partitioning, &decode, &schema, converter)?;
    let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let output = Output {
        partitioning,
        partitions: wire.partitions.into_iter().map(index).collect(),
    };
    let place = (wire.folder, wire.name);
    Ok(ShuffleExec::new(input, output, place, Some(by)))
}
