//! `try_image_decode` over awkward files, called as the executor calls it.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use atoll_udf_common::{Call, CallContext, Erased, as_expensive};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use datafusion::arrow::datatypes::{Field, FieldRef, UInt32Type};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs};
use datafusion::prelude::col;

async fn call(function: &str, image: ArrayRef) -> Result<ArrayRef> {
    let functions = atoll_udf_image::functions();
    let udf = functions.iter().find(|udf| udf.name() == function).unwrap();
    let arg_fields: Vec<FieldRef> = vec![Arc::new(Field::new(
        "image",
        image.data_type().clone(),
        true,
    ))];
    let return_field = udf.return_field_from_args(ReturnFieldArgs {
        arg_fields: &arg_fields,
        scalar_arguments: &[None],
    })?;
    let args = Erased::new(vec![col("image")]);
    let session = SessionStateBuilder::new().build();
    let call = Call {
        args: &args,
        arg_fields: &arg_fields,
        return_field: &return_field,
        session: &Erased::new(session),
    };
    let prepared = as_expensive(udf).unwrap().prepare(&call).await?;
    let args = ScalarFunctionArgs {
        number_rows: image.len(),
        args: vec![ColumnarValue::Array(image)],
        arg_fields,
        return_field,
        config_options: Arc::new(ConfigOptions::default()),
    };
    prepared.invoke(args, &CallContext::default()).await
}

/// File, expectation, width, height.
fn manifest(folder: &Path) -> Vec<[String; 4]> {
    let text = fs::read_to_string(folder.join("manifest.tsv")).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            let mut fields = line.split('\t').map(ToString::to_string);
            std::array::from_fn(|_| fields.next().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn every_row_in_is_a_row_out_as_the_manifest_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/odd");
    let manifest = manifest(&folder);
    let bytes: BinaryArray = manifest
        .iter()
        .map(|[file, ..]| Some(fs::read(folder.join(file)).unwrap()))
        .collect();
    let results = call("try_image_decode", Arc::new(bytes)).await.unwrap();
    assert_eq!((manifest.len(), results.len()), (82, 82));
    let results = results.as_struct();
    let images = results.column_by_name("image").unwrap().as_struct();
    let width = images.column(0).as_primitive::<UInt32Type>();
    let height = images.column(1).as_primitive::<UInt32Type>();
    let codes = results
        .column_by_name("error_code")
        .unwrap()
        .as_string::<i32>();
    let errors = results.column_by_name("error").unwrap().as_string::<i32>();
    for (row, [file, expect, w, h]) in manifest.iter().enumerate() {
        let decoded = images.is_valid(row);
        assert_eq!(codes.is_null(row), decoded, "{file}");
        assert_eq!(errors.is_null(row), decoded, "{file}");
        assert!(
            expect == "either" || (expect == "decode") == decoded,
            "{file}"
        );
        if decoded {
            let size = [width.value(row).to_string(), height.value(row).to_string()];
            assert_eq!(size, [w.as_str(), h.as_str()], "{file}");
        }
    }
}

#[tokio::test]
async fn null_is_null() {
    let nulls: BinaryArray = [None::<&[u8]>, None].into_iter().collect();
    let results = call("try_image_decode", Arc::new(nulls)).await.unwrap();
    assert_eq!(results.null_count(), 2);
}

#[tokio::test]
async fn a_strict_function_fails_with_code_and_remedy() {
    let bytes: BinaryArray = [Some(b"hello".as_slice())].into_iter().collect();
    let error = call("image_decode", Arc::new(bytes))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("NOT_AN_IMAGE"), "{error}");
    assert!(error.contains("try_image_decode"), "{error}");
}

#[test]
fn every_function_is_documented_with_an_example() {
    for udf in atoll_udf_image::functions() {
        let documentation = udf.documentation().unwrap();
        assert!(documentation.sql_example.is_some(), "{}", udf.name());
        let slt = format!("../../tests/slt/image/{}.slt", udf.name());
        let slt = Path::new(env!("CARGO_MANIFEST_DIR")).join(slt);
        assert!(slt.exists(), "{}", slt.display());
    }
}
