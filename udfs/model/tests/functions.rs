//! The functions of this family on tiny models.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use common::{bmp, evaluate, model, runtime};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float64Array, ListArray, StringArray,
    StructArray,
};
use datafusion::arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int32Type, Int64Type,
};
use datafusion::arrow::util::pretty::pretty_format_columns;
use datafusion::common::ScalarValue;
use datafusion::common::scalar::ScalarStructBuilder;
use datafusion::logical_expr::ColumnarValue;

fn images(rows: Vec<Option<Vec<u8>>>) -> ColumnarValue {
    ColumnarValue::Array(Arc::new(BinaryArray::from_iter(rows)))
}

fn options(key: &str, value: ScalarValue) -> ColumnarValue {
    let field = Field::new(key, value.data_type(), true);
    let builder = ScalarStructBuilder::new().with_scalar(field, value);
    ColumnarValue::Scalar(builder.build().unwrap())
}

fn number(value: i64) -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::from(value))
}

fn list(rows: Vec<Option<Vec<Option<f64>>>>) -> ColumnarValue {
    let lists = ListArray::from_iter_primitive::<Float64Type, _, _>(rows);
    ColumnarValue::Array(Arc::new(lists))
}

fn row(values: &[f64]) -> Option<Vec<Option<f64>>> {
    Some(values.iter().copied().map(Some).collect())
}

/// The whole result as text, one line a row.
fn show(result: &ArrayRef) -> Vec<String> {
    let table = pretty_format_columns("result", &[Arc::clone(result)]).unwrap();
    let table = table.to_string();
    let rows = table.lines().skip(3).filter(|line| !line.starts_with('+'));
    rows.map(|line| line.trim_matches(['|', ' ']).to_string())
        .collect()
}

#[track_caller]
fn check(result: datafusion::common::Result<ArrayRef>, expected: &[&str]) {
    assert_eq!(show(&result.unwrap()), expected);
}

#[track_caller]
fn check_error(result: datafusion::common::Result<ArrayRef>, expected: &[&str]) {
    let error = result.unwrap_err().strip_backtrace();
    for part in expected {
        assert!(error.contains(part), "no '{part}' in: {error}");
    }
}

fn label_at(labels: &dyn Array, row: usize, rank: usize) -> (String, f32, i32) {
    let classes = labels.as_list::<i32>().value(row);
    let classes: &StructArray = classes.as_struct();
    (
        classes.column(0).as_string::<i32>().value(rank).to_string(),
        classes.column(1).as_primitive::<Float32Type>().value(rank),
        classes.column(2).as_primitive::<Int32Type>().value(rank),
    )
}

#[tokio::test]
async fn classify_names_the_colour_of_an_image() {
    if !runtime() {
        return;
    }
    let rows = vec![Some(bmp(255, 0, 0)), None, Some(bmp(0, 0, 255))];
    let labels = evaluate("classify", vec![model("colours.onnx"), images(rows)])
        .await
        .unwrap();
    let (label, score, index) = label_at(&labels, 0, 0);
    assert_eq!((label.as_str(), index), ("red", 0));
    // exp(10) / (exp(10) + 2)
    assert!((score - 0.999_909_2).abs() < 1e-6, "score {score}");
    assert!(labels.is_null(1));
    assert_eq!(label_at(&labels, 2, 0).0, "blue");
    // Ties go to the lower index.
    assert_eq!(label_at(&labels, 2, 1).0, "red");
    assert_eq!(label_at(&labels, 2, 2).0, "green");
}

#[tokio::test]
async fn k_says_how_many_classes_come_back() {
    if !runtime() {
        return;
    }
    let image = || images(vec![Some(bmp(0, 255, 0))]);
    let args = vec![model("colours.onnx"), image(), number(1)];
    let labels = evaluate("classify", args).await.unwrap();
    assert_eq!(labels.as_list::<i32>().value(0).len(), 1);
    let args = vec![model("colours.onnx"), image(), number(0)];
    check_error(
        evaluate("classify", args).await,
        &["k must be at least 1, got 0"],
    );
}

#[tokio::test]
async fn a_bare_model_needs_options() {
    if !runtime() {
        return;
    }
    let image = || images(vec![Some(bmp(0, 255, 0))]);
    check_error(
        evaluate("classify", vec![model("bare_colours.onnx"), image()]).await,
        &["bare_colours.onnx", "pass options"],
    );
    let scale = options("scale", ScalarValue::from(1.0 / 255.0));
    let args = vec![model("bare_colours.onnx"), image(), number(1), scale];
    let labels = evaluate("classify", args).await.unwrap();
    let classes = labels.as_list::<i32>().value(0);
    assert!(
        classes.as_struct().column(0).is_null(0),
        "no label is known"
    );
    assert_eq!(
        classes
            .as_struct()
            .column(2)
            .as_primitive::<Int32Type>()
            .value(0),
        1
    );

    let two = [ScalarValue::from("a"), ScalarValue::from("b")];
    let two = ScalarValue::List(ScalarValue::new_list(&two, &DataType::Utf8, true));
    let args = vec![
        model("colours.onnx"),
        image(),
        number(1),
        options("labels", two),
    ];
    check_error(evaluate("classify", args).await, &["3 classes", "2 labels"]);
}

#[tokio::test]
async fn an_unknown_option_is_refused_with_a_suggestion() {
    let args = vec![
        model("colours.onnx"),
        images(vec![None]),
        number(1),
        options("lables", ScalarValue::from("a")),
    ];
    check_error(
        evaluate("classify", args).await,
        &["unknown option lables", "did you mean labels?"],
    );
}

#[tokio::test]
async fn a_bad_row_is_an_error_or_a_value() {
    if !runtime() {
        return;
    }
    let rows = || {
        images(vec![
            Some(bmp(255, 0, 0)),
            Some(b"some text".to_vec()),
            None,
        ])
    };
    check_error(
        evaluate("classify", vec![model("colours.onnx"), rows()]).await,
        &["not an image", "NOT_AN_IMAGE", "try_classify"],
    );
    let result = evaluate("try_classify", vec![model("colours.onnx"), rows()])
        .await
        .unwrap();
    let result = result.as_struct();
    let codes = result.column(1).as_string::<i32>();
    assert_eq!(label_at(result.column(0), 0, 0).0, "red");
    assert!(codes.is_null(0));
    assert!(result.column(0).is_null(1));
    assert_eq!(codes.value(1), "NOT_AN_IMAGE");
    assert!(
        result
            .column(2)
            .as_string::<i32>()
            .value(1)
            .contains("not an image")
    );
    assert!(result.is_valid(1) && result.is_null(2));
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_is_named_before_the_first_row() {
    if !runtime() {
        return;
    }
    for function in ["classify", "try_classify", "embed", "predict"] {
        let args = vec![model("missing.onnx"), images(vec![])];
        check_error(
            evaluate(function, args).await,
            &[
                "model file not found",
                "missing.onnx",
                "MODEL_NOT_FOUND",
                "check the path",
            ],
        );
        let args = vec![model("truncated.onnx"), images(vec![])];
        check_error(
            evaluate(function, args).await,
            &["truncated.onnx", "MODEL_INVALID"],
        );
    }
}

#[tokio::test]
async fn embed_returns_the_chosen_output() {
    if !runtime() {
        return;
    }
    let image = || images(vec![Some(bmp(255, 0, 0)), None]);
    check(
        evaluate("embed", vec![model("colours.onnx"), image()]).await,
        &["[10.0, 0.0, 0.0]", ""],
    );
    let output = options("output", ScalarValue::from("means"));
    check(
        evaluate("embed", vec![model("colours.onnx"), image(), output]).await,
        &["[1.0, 0.0, 0.0]", ""],
    );
    let output = options("output", ScalarValue::from("mean"));
    check_error(
        evaluate("embed", vec![model("colours.onnx"), image(), output]).await,
        &["has no output mean", "logits float32 [?, 3]"],
    );
}

#[tokio::test]
async fn predict_returns_every_output_by_name() {
    if !runtime() {
        return;
    }
    let rows = || list(vec![row(&[1.0, 2.0, 3.0]), None]);
    check(
        evaluate("predict", vec![model("identity.onnx"), rows()]).await,
        &["{y: [1.0, 2.0, 3.0]}", ""],
    );
    let rows = list(vec![row(&[0.0, 5.0, 1.0, 2.0])]);
    check(
        evaluate("predict", vec![model("argmax.onnx"), rows]).await,
        &["{class: [1]}"],
    );
    check(
        evaluate(
            "predict",
            vec![model("colours.onnx"), images(vec![Some(bmp(0, 255, 0))])],
        )
        .await,
        &["{logits: [0.0, 10.0, 0.0], means: [0.0, 1.0, 0.0]}"],
    );
}

#[tokio::test]
async fn predict_takes_several_inputs_as_a_struct() {
    if !runtime() {
        return;
    }
    let lists = |values: &[f64]| -> ArrayRef {
        let rows = vec![row(values)];
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows))
    };
    let inputs = |names: [&str; 2]| {
        let columns = [lists(&[1.0, 2.0]), lists(&[3.0, 4.0])];
        let fields = names.iter().zip(columns).map(|(name, column)| {
            (
                Arc::new(Field::new(*name, column.data_type().clone(), true)),
                column,
            )
        });
        let structs = StructArray::from(fields.collect::<Vec<_>>());
        ColumnarValue::Array(Arc::new(structs))
    };
    check(
        evaluate(
            "predict",
            vec![model("two_inputs.onnx"), inputs(["b", "a"])],
        )
        .await,
        &["{sum: [4.0, 6.0], product: [3.0, 8.0]}"],
    );
    check_error(
        evaluate(
            "predict",
            vec![model("two_inputs.onnx"), inputs(["a", "c"])],
        )
        .await,
        &["input c", "its inputs are a, b"],
    );
    check_error(
        evaluate(
            "predict",
            vec![model("two_inputs.onnx"), list(vec![row(&[1.0])])],
        )
        .await,
        &["two_inputs.onnx", "a struct with 2 inputs by name"],
    );
}

#[tokio::test]
async fn a_list_of_the_wrong_length_is_named() {
    if !runtime() {
        return;
    }
    let ten: Vec<ScalarValue> = (0..10).map(ScalarValue::from).collect();
    let ten = ScalarValue::List(ScalarValue::new_list(&ten, &DataType::Int32, true));
    let expected = [
        "colours.onnx",
        "12 numbers per row (float32 [?, 3, 2, 2])",
        "10 numbers",
    ];
    // A literal, at plan time.
    check_error(
        evaluate(
            "predict",
            vec![model("colours.onnx"), ColumnarValue::Scalar(ten)],
        )
        .await,
        &expected,
    );
    // A column, at run time.
    let rows = list(vec![row(&[0.0; 12]), row(&[0.0; 10])]);
    check_error(
        evaluate("predict", vec![model("colours.onnx"), rows]).await,
        &expected,
    );
}

#[tokio::test]
async fn a_model_may_be_a_column_of_paths_or_of_files() {
    if !runtime() {
        return;
    }
    let path = |name| match model(name) {
        ColumnarValue::Scalar(value) => value.try_as_str().flatten().unwrap().to_string(),
        ColumnarValue::Array(_) => unreachable!(),
    };
    let rows = || {
        list(vec![
            row(&[1.0, 2.0, 3.0]),
            row(&[0.0, 9.0, 1.0, 2.0]),
            None,
        ])
    };
    let names = vec![Some(path("identity.onnx")), Some(path("argmax.onnx")), None];
    let files: Vec<Option<Vec<u8>>> = names
        .iter()
        .map(|name| Some(std::fs::read(name.as_ref()?).unwrap()))
        .collect();
    let expected = ["{logits: [1.0, 2.0, 3.0]}", "{logits: [1.0]}", ""];
    let names = ColumnarValue::Array(Arc::new(StringArray::from(names)));
    check(evaluate("predict", vec![names, rows()]).await, &expected);
    check(
        evaluate("predict", vec![images(files), rows()]).await,
        &expected,
    );
    let missing = ColumnarValue::Array(Arc::new(StringArray::from(vec!["/no/model"; 3])));
    check_error(
        evaluate("predict", vec![missing, rows()]).await,
        &["model file not found: /no/model"],
    );
}

#[tokio::test]
async fn wrong_types_are_refused_at_plan_time() {
    let dates = ColumnarValue::Scalar(ScalarValue::Date32(Some(1)));
    check_error(
        evaluate("predict", vec![model("identity.onnx"), dates.clone()]).await,
        &["x must be a list of numbers", "Date32"],
    );
    check_error(
        evaluate("classify", vec![number(1), images(vec![])]).await,
        &["model must be the path or URL", "Int64"],
    );
    let args = vec![model("colours.onnx"), images(vec![]), dates];
    check_error(
        evaluate("classify", args).await,
        &["k must be a whole number"],
    );
    check_error(
        evaluate("embed", vec![number(1)]).await,
        &["embed is called as embed(model, image"],
    );
}

#[tokio::test]
async fn a_null_in_a_list_is_refused() {
    if !runtime() {
        return;
    }
    let rows = list(vec![Some(vec![Some(1.0), None, Some(3.0)])]);
    check_error(
        evaluate("predict", vec![model("identity.onnx"), rows]).await,
        &["a NULL in it"],
    );
}

/// The same name, another model: the weights beside it have changed.
#[tokio::test]
async fn weights_that_change_in_their_file_are_read_again() {
    if !runtime() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("weights-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ColumnarValue::Scalar(given) = model("external.onnx") else {
        unreachable!()
    };
    let given = given.try_as_str().flatten().unwrap().to_string();
    let path = folder.join("external.onnx");
    std::fs::copy(&given, &path).unwrap();
    let weights = folder.join("external.onnx.data");
    let name = ScalarValue::from(path.display().to_string());
    let predict = || {
        let model = ColumnarValue::Scalar(name.clone());
        evaluate("predict", vec![model, list(vec![row(&[1.0; 4])])])
    };
    check_error(
        predict().await,
        &["keeps weights in a file beside it", "check the path"],
    );
    std::fs::copy(format!("{given}.data"), &weights).unwrap();
    check(predict().await, &["{y: [18.0, 22.0, 26.0]}"]);
    let modified = std::fs::metadata(&weights).unwrap().modified().unwrap();
    std::fs::write(&weights, [0; 48]).unwrap();
    // As large as before, so that only the time tells.
    let later = modified + std::time::Duration::from_secs(2);
    std::fs::File::options()
        .write(true)
        .open(&weights)
        .unwrap()
        .set_modified(later)
        .unwrap();
    check(predict().await, &["{y: [0.0, 0.0, 0.0]}"]);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn model_info_reads_the_file() {
    if !runtime() {
        return;
    }
    let info = evaluate("model_info", vec![model("colours.onnx")])
        .await
        .unwrap();
    let info = info.as_struct();
    let text = |name: &str| {
        let column = info.column_by_name(name).unwrap();
        column.as_string::<i32>().value(0).to_string()
    };
    assert_eq!(text("producer"), "make.py");
    assert_eq!(text("sha256").len(), 64);
    assert!(
        text("preprocess").contains("resize=squash"),
        "{}",
        text("preprocess")
    );
    let opset = info.column_by_name("opset").unwrap();
    assert_eq!(opset.as_primitive::<Int32Type>().value(0), 17);
    let inputs = info
        .column_by_name("inputs")
        .unwrap()
        .as_list::<i32>()
        .value(0);
    let shapes = inputs.as_struct().column(2).as_list::<i32>().value(0);
    let shape: Vec<Option<i64>> = shapes.as_primitive::<Int64Type>().iter().collect();
    assert_eq!(shape, [None, Some(3), Some(2), Some(2)]);
    let labels = info
        .column_by_name("labels")
        .unwrap()
        .as_list::<i32>()
        .value(0);
    assert_eq!(labels.as_string::<i32>().value(2), "blue");

    let null = ColumnarValue::Scalar(ScalarValue::Utf8(None));
    assert!(evaluate("model_info", vec![null]).await.unwrap().is_null(0));
}

#[tokio::test]
async fn model_info_follows_the_options() {
    if !runtime() {
        return;
    }
    let text = |info: &ArrayRef, name: &str| {
        let column = info.as_struct().column_by_name(name).unwrap();
        column.as_string::<i32>().value(0).to_string()
    };
    let info = evaluate("model_info", vec![model("colours.onnx")]);
    let info = info.await.unwrap();
    let crop = options("crop", ScalarValue::from("center"));
    let cropped = evaluate("model_info", vec![model("colours.onnx"), crop]);
    let cropped = cropped.await.unwrap();
    assert!(text(&cropped, "preprocess").contains("crop=center"));
    assert_eq!(text(&info, "sha256"), text(&cropped, "sha256"));
    assert_eq!(text(&info, "preprocess_sha256").len(), 64);
    assert_ne!(
        text(&info, "preprocess_sha256"),
        text(&cropped, "preprocess_sha256")
    );
    assert!(text(&info, "engine").contains("onnxruntime 1."));
}

/// A network as phones run it: bytes in NHWC, a mini-batch of one, half floats.
#[tokio::test]
async fn bytes_in_nhwc_become_half_floats() {
    if !runtime() {
        return;
    }
    let image = images(vec![Some(bmp(0, 255, 0))]);
    let squash = options("resize", ScalarValue::from("squash"));
    let args = vec![model("phone.onnx"), image, number(3), squash];
    let labels = evaluate("classify", args).await.unwrap();
    // Without labels the index is the answer; exp(10) / (exp(10) + 2) of half floats.
    let classes = labels.as_list::<i32>().value(0);
    let classes = classes.as_struct();
    assert!(classes.column(0).is_null(0));
    assert_eq!(classes.column(2).as_primitive::<Int32Type>().value(0), 1);
    let score = classes.column(1).as_primitive::<Float32Type>().value(0);
    assert!((score - 0.999_909_2).abs() < 1e-6, "score {score}");
}

#[tokio::test]
async fn numbers_of_a_column_are_a_row_of_one() {
    if !runtime() {
        return;
    }
    let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(3.0), None]));
    let args = vec![model("twice.onnx"), ColumnarValue::Array(numbers)];
    check(evaluate("predict", args).await, &["{twice: [6]}", ""]);
}

#[test]
fn every_function_is_documented_with_an_example() {
    for udf in atoll_udf_model::functions() {
        let documentation = udf.documentation().unwrap();
        assert!(documentation.sql_example.is_some(), "{}", udf.name());
        assert!(documentation.arguments.is_some(), "{}", udf.name());
    }
}
