//! Calls as tasks carry them, pinned: an executor of this version must understand a client
//! of this version, and the journal of a statement must be found by the statement's next run.
//!
//! A digest that changes here means that tasks changed. That is fine in a new version,
//! whose journals are others, if it was meant.

use std::collections::HashMap;
use std::sync::Arc;

use atoll_udf_common::{CallContext, Grain, PreparedCall};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::scalar::ScalarStructBuilder;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use prost::Message;
use sha2::{Digest, Sha256};

use super::wire::encode_call;
use crate::expensive::PhysicalCall;
use crate::functions::scalar_functions;

/// Nothing here is evaluated.
#[derive(Debug)]
struct Nothing;

#[async_trait::async_trait]
impl PreparedCall for Nothing {
    async fn invoke(&self, _: ScalarFunctionArgs, _: &CallContext) -> Result<ArrayRef> {
        internal_err!("a call that is only written")
    }
}

/// A column, or a literal.
enum Argument {
    Column(DataType),
    Literal(ScalarValue),
}

use Argument::{Column as Of, Literal as Is};

/// The first half of the digest of a call as it is sent.
fn digest(function: &ScalarUDF, arguments: &[Argument]) -> Result<String> {
    let types: Vec<DataType> = arguments
        .iter()
        .map(|argument| match argument {
            Of(data_type) => data_type.clone(),
            Is(value) => value.data_type(),
        })
        .collect();
    let types = function.coerce_types(&types)?;
    let arg_fields: Vec<_> = (0..)
        .zip(&types)
        .map(|(n, data_type): (usize, _)| {
            Arc::new(Field::new(format!("a{n}"), data_type.clone(), true))
        })
        .collect();
    let values: Vec<Option<ScalarValue>> = arguments
        .iter()
        .zip(&types)
        .map(|(argument, data_type)| match argument {
            Of(_) => Ok(None),
            Is(value) => value.cast_to(data_type).map(Some),
        })
        .collect::<Result<_>>()?;
    let literals: Vec<Option<&ScalarValue>> = values.iter().map(Option::as_ref).collect();
    let return_field = function.return_field_from_args(ReturnFieldArgs {
        arg_fields: &arg_fields,
        scalar_arguments: &literals,
    })?;
    let args = values.iter().enumerate().map(|(n, value)| match value {
        Some(value) => Arc::new(Literal::new(value.clone())) as Arc<dyn PhysicalExpr>,
        None => Arc::new(Column::new(&format!("a{n}"), n)),
    });
    let call = PhysicalCall {
        function: function.name().to_string(),
        name: "result".to_string(),
        prepared: Arc::new(Nothing),
        args: args.collect(),
        arg_fields,
        return_field,
        grain: Grain::Groups,
        shipped: Some(b"shipped".to_vec()),
    };
    let bytes = encode_call(&call)?.encode_to_vec();
    Ok(hex::encode(&Sha256::digest(bytes)[..16]))
}

fn options(key: &str, value: impl Into<ScalarValue>) -> Argument {
    let value = value.into();
    let field = Field::new(key, value.data_type(), true);
    let options = ScalarStructBuilder::new().with_scalar(field, value).build();
    Is(options.unwrap())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of calls")]
fn calls_are_sent_as_before() {
    let (bytes, text) = (|| Of(DataType::Binary), || Of(DataType::Utf8View));
    let four = || Is(ScalarValue::Int32(Some(4)));
    let calls: Vec<(&str, Vec<Argument>, &str)> = vec![
        (
            "image_decode",
            vec![bytes()],
            "95c7069a8f77ac2467792cd5dc4e9853",
        ),
        (
            "try_image_decode",
            vec![bytes()],
            "f27045049d99f15de12d0e03bea130fb",
        ),
        (
            "image_crop",
            vec![bytes(), four(), four(), four(), four()],
            "0a3e5f37ca67a20b5dffecdd474eb2f2",
        ),
        (
            "image_center_crop",
            vec![bytes(), four(), four()],
            "a616c86d506ac7d8f31f35e62ba001ed",
        ),
        (
            "image_resize",
            vec![bytes(), four(), four()],
            "6fabfd8433b0f4df1328d13b11a2d5d6",
        ),
        (
            "image_encode",
            vec![bytes(), Is("png".into())],
            "26e905379074038f1bbcbf781a48357d",
        ),
        (
            "image_to_tensor",
            vec![bytes(), options("scale", 0.5)],
            "e40937d1e4af009b34d176aeb82e05eb",
        ),
        (
            "url_download",
            vec![text()],
            "b117c12ba46a0c572f2b56644ab7d2f6",
        ),
        (
            "try_url_download",
            vec![text(), options("retries", 1_i64)],
            "4a8b6655cda0694e469af4a3b08b539c",
        ),
        (
            "classify",
            vec![text(), bytes(), four()],
            "069957135295b85a32b05839a7d76602",
        ),
        (
            "try_classify",
            vec![text(), bytes()],
            "c4b6e2273419e0ee7a57ac9615757794",
        ),
        (
            "embed",
            vec![text(), bytes()],
            "4e1d2b6c92de4753a731e455fd3f07ef",
        ),
        (
            "image_hash",
            vec![bytes(), Is("dhash".into())],
            "d9bae8cf7d9023c26231352156d66e08",
        ),
        (
            "try_image_resize",
            vec![bytes(), four(), four()],
            "40a7b33f1898cd7410351c10a44437f1",
        ),
        (
            "try_embed",
            vec![text(), bytes()],
            "7da96a7dca46dc5ea69fb9f89d6fa5f5",
        ),
        (
            "try_predict",
            vec![text(), bytes()],
            "7c81013c0b453b1a19ecde0f4bb8a545",
        ),
        (
            "predict",
            vec![text(), bytes(), options("color", "L")],
            "9dbd0b0db1644be182428a5386b29a8e",
        ),
        (
            "model_info",
            vec![text()],
            "244d045aa11f9cdaadaea73e7cf1dee8",
        ),
        (
            "train",
            vec![text(), options("epochs", 2_i64)],
            "33a4fcb9658c0b7f67c02c72deb2e4bb",
        ),
        (
            "evaluate",
            vec![bytes(), text(), options("split", "test")],
            "87bb2eedbaa1d4f61f76b3461920a833",
        ),
    ];
    let functions: HashMap<String, ScalarUDF> = scalar_functions()
        .into_iter()
        .map(|function| (function.name().to_string(), function))
        .collect();
    let found: Vec<(&str, String)> = calls
        .iter()
        .map(|(name, arguments, _)| {
            let digest = digest(&functions[*name], arguments);
            (
                *name,
                digest.unwrap_or_else(|error| format!("{name}: {error}")),
            )
        })
        .collect();
    let expected: Vec<(&str, String)> = calls
        .iter()
        .map(|(name, _, expected)| (*name, (*expected).to_string()))
        .collect();
    assert_eq!(found, expected);
}
