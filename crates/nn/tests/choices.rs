//! What rows count, what chooses an epoch, and training on all rows.

#![expect(
    clippy::unwrap_used,
    reason = "clippy exempts tests but not their helpers"
)]

use atoll_nn::{
    Checkpoint, Dataset, Hyperparameters, Labels, Metric, Observer, Options, Report,
    Split, train_with,
};

struct Silent;
impl Observer for Silent {}

/// Two overlapping classes, the second of which has a tenth of the rows.
fn rare(rows: u32) -> Dataset {
    let mut noise = 1_u32;
    let mut draw = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(noise >> 8) / f64::from(1 << 24)
    };
    let indices: Vec<u32> = (0..rows).map(|row| u32::from(row % 10 == 0)).collect();
    let numbers = indices
        .iter()
        .map(|class| draw() + draw() + 0.5 * f64::from(*class));
    let numbers = numbers.collect();
    let names = ["often", "rare"].map(String::from).to_vec();
    Dataset::of_numbers(1, numbers, Labels::Classes { indices, names }).unwrap()
}

fn trained(dataset: &Dataset, more: &serde_json::Value, options: Options<'_>) -> Report {
    let mut json = serde_json::json!({
        "architecture": "dense(8), relu, dense(2)", "epochs": 8, "learning_rate": 0.05,
    });
    let object = json.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    let hyperparameters = Hyperparameters::from_json(object).unwrap();
    let split = match options.all_train {
        false => Split::by_fraction(dataset.len(), 0.25, 1).unwrap(),
        true => Split {
            train: (0..dataset.len() as u32).collect(),
            validation: vec![],
        },
    };
    train_with(dataset, &split, &hyperparameters, options, &mut Silent).unwrap()
}

fn by(name: &str) -> Options<'static> {
    Options {
        metric: Metric::named(name),
        ..Options::default()
    }
}

#[test]
fn balanced_classes_are_found_though_one_is_rare() {
    let dataset = rare(2_000);
    let recall = |json| {
        let report = trained(&dataset, &json, by("balanced_accuracy"));
        report.validation_score.unwrap()
    };
    let plain = recall(serde_json::json!({}));
    let balanced = recall(serde_json::json!({"class_weights": "balanced"}));
    assert!(balanced > plain + 0.05, "{plain} {balanced}");
    // A rare class that weighs nine times as much is balanced.
    let given = recall(serde_json::json!({"class_weights": {"rare": 9}}));
    assert!((given - balanced).abs() < 0.05, "{given} {balanced}");
}

/// Of every four rows two count twice, so that mean and deviation stay as they are.
#[test]
fn a_row_of_weight_two_is_two_rows() {
    let rows: Vec<u32> = (0..400).collect();
    let data = |rows: &[u32]| {
        let numbers = rows
            .iter()
            .map(|row| f64::from(row % 2) * 2.0 - 1.0)
            .collect();
        let indices = rows.iter().map(|row| u32::from(row % 3 == 0)).collect();
        let names = ["a", "b"].map(String::from).to_vec();
        Dataset::of_numbers(1, numbers, Labels::Classes { indices, names }).unwrap()
    };
    let counts_twice = |row: &u32| row % 4 < 2;
    let weights = rows
        .iter()
        .map(|row| f64::from(1 + u8::from(counts_twice(row))));
    let weighted = data(&rows).with_weights(weights.collect()).unwrap();
    let twice = rows.iter().filter(|row| counts_twice(row)).copied();
    let doubled = data(&rows.iter().copied().chain(twice).collect::<Vec<_>>());
    let one = serde_json::json!({"batch_size": 1000, "epochs": 5});
    let all = Options {
        all_train: true,
        ..Options::default()
    };
    let loss = |data: &Dataset| trained(data, &one, all).train_loss;
    let (first, second) = (loss(&weighted), loss(&doubled));
    assert!((first - second).abs() < 1e-5, "{first} {second}");
    assert!((first - loss(&data(&rows))).abs() > 1e-4, "{first}");
}

#[test]
fn weights_have_the_same_bits_on_any_threads() {
    let dataset = rare(600)
        .with_weights((0..600).map(f64::from).collect())
        .unwrap();
    let json = serde_json::json!({"class_weights": "balanced", "mixup": 0.2,
        "label_smoothing": 0.1, "batch_size": 128});
    let model = |threads| {
        let options = Options {
            threads,
            ..Options::default()
        };
        trained(&dataset, &json, options).onnx.unwrap()
    };
    assert!(model(1) == model(2));
    assert!(model(1) == model(3));
}

#[test]
fn a_metric_chooses_the_epoch() {
    let dataset = rare(1_000);
    let json = serde_json::json!({"class_weights": "balanced", "epochs": 12});
    let report = trained(&dataset, &json, by("recall"));
    let scores: Vec<f64> = report
        .history
        .iter()
        .map(|epoch| epoch.validation_score.unwrap())
        .collect();
    let best = scores.iter().copied().fold(0.0, f64::max);
    assert_eq!(report.validation_score, Some(best));
    let first = scores.iter().position(|score| *score == best).unwrap();
    assert!(report.best_epoch > first as u32);
    // Without a metric nothing is scored, and the same network is trained.
    let plain = trained(&dataset, &json, Options::default());
    assert_eq!(plain.validation_score, None);
    let losses = |report: &Report| -> Vec<u64> {
        let losses = report
            .history
            .iter()
            .map(|epoch| epoch.validation_loss.to_bits());
        losses.collect()
    };
    assert_eq!(losses(&plain), losses(&report));
}

#[test]
fn a_metric_that_does_not_fit_is_refused() {
    let dataset = rare(100);
    let refused = |dataset: &Dataset, json: &serde_json::Value, name: &str| {
        let json = json.as_object().unwrap();
        let hyperparameters = Hyperparameters::from_json(json).unwrap();
        let split = Split::by_fraction(dataset.len(), 0.25, 1).unwrap();
        let found = train_with(dataset, &split, &hyperparameters, by(name), &mut Silent);
        found.unwrap_err().to_string()
    };
    let plain = serde_json::json!({});
    assert_eq!(
        refused(&dataset, &plain, "r2"),
        "metric must be one for classes, such as f1_macro, got r2"
    );
    let numbers = Labels::Numbers((0..100).map(f64::from).collect());
    let numbers = Dataset::of_numbers(1, vec![1.0; 100], numbers).unwrap();
    assert_eq!(
        refused(&numbers, &plain, "f1_macro"),
        "metric must be one for predicted numbers, such as r2, got f1_macro"
    );
    let error = refused(
        &numbers,
        &serde_json::json!({"class_weights": "balanced"}),
        "r2",
    );
    assert!(
        error.starts_with("class_weights must be left out"),
        "{error}"
    );
}

#[test]
fn all_rows_train_to_the_last_epoch() {
    let dataset = rare(200);
    let all = Options {
        all_train: true,
        ..Options::default()
    };
    let report = trained(&dataset, &serde_json::json!({"stop_after": 3}), all);
    assert_eq!((report.epochs, report.best_epoch), (3, 3));
    assert!(report.validation_loss.is_nan() && report.onnx.is_some());
}

#[derive(Default)]
struct Keep(Vec<Checkpoint>);

impl Observer for Keep {
    fn wants_checkpoint(&mut self, _: bool) -> bool {
        true
    }

    fn on_checkpoint(&mut self, checkpoint: Checkpoint) {
        self.0.push(checkpoint);
    }
}

#[test]
fn a_checkpoint_goes_on_with_its_metric_and_no_other() {
    let dataset = rare(300);
    let split = Split::by_fraction(300, 0.25, 1).unwrap();
    let json = serde_json::json!({"hidden": 4, "epochs": 5, "class_weights": "balanced"});
    let hyperparameters = Hyperparameters::from_json(json.as_object().unwrap()).unwrap();
    let mut keep = Keep::default();
    let whole =
        train_with(&dataset, &split, &hyperparameters, by("recall"), &mut keep).unwrap();
    let bytes = keep.0[1].bytes().to_vec();
    let checkpoint = Checkpoint::from_bytes(bytes).unwrap();
    let go_on = |name: &str, hyperparameters: &Hyperparameters| {
        let options = Options {
            checkpoint: Some(&checkpoint),
            ..by(name)
        };
        train_with(&dataset, &split, hyperparameters, options, &mut Silent)
    };
    let resumed = go_on("recall", &hyperparameters).unwrap();
    assert!(resumed.onnx == whole.onnx);
    assert_eq!(resumed.best_epoch, whole.best_epoch);
    let error = go_on("accuracy", &hyperparameters).unwrap_err().to_string();
    assert!(
        error.contains("metric recall, and this trial has accuracy"),
        "{error}"
    );
    let plain = Hyperparameters {
        class_weights: None,
        ..hyperparameters.clone()
    };
    let error = go_on("recall", &plain).unwrap_err().to_string();
    assert!(
        error.starts_with("class_weights must be \"balanced\""),
        "{error}"
    );
}

/// Rows of two numbers with a label for each that is large.
fn large(rows: u32) -> Dataset {
    let number = |row: u32, n: u32| f64::from((row * (7 + 4 * n) + n) % 31);
    let numbers = (0..rows).flat_map(|row| [number(row, 0), number(row, 1)]);
    let set = |row| (0..2).filter(|n| number(row, *n) > 15.0).collect();
    let labels = Labels::Sets {
        sets: (0..rows).map(set).collect(),
        names: ["first", "second"].map(String::from).to_vec(),
    };
    Dataset::of_numbers(2, numbers.collect(), labels).unwrap()
}

#[test]
fn lists_of_labels_are_learned() {
    let dataset = large(600);
    let json = serde_json::json!({"architecture": "dense(16), relu, dense(2)", "epochs": 30,
        "learning_rate": 0.1});
    let model = |threads| {
        let options = Options {
            threads,
            ..by("f1_macro")
        };
        trained(&dataset, &json, options)
    };
    let report = model(1);
    assert!(report.validation_accuracy > 0.9, "{report:?}");
    assert!(report.validation_score.unwrap() > 0.95, "{report:?}");
    assert!(model(2).onnx == report.onnx);
    let hyperparameters = |json: serde_json::Value| {
        Hyperparameters::from_json(json.as_object().unwrap()).unwrap()
    };
    let refused = |json, name: &str| {
        let split = Split::by_fraction(600, 0.25, 1).unwrap();
        let given = hyperparameters(json);
        let found = train_with(&dataset, &split, &given, by(name), &mut Silent);
        found.unwrap_err().to_string()
    };
    assert_eq!(
        refused(serde_json::json!({"loss": "mse"}), "f1_macro"),
        "loss must be binary_cross_entropy for labels that are lists, got mse"
    );
    assert_eq!(
        refused(serde_json::json!({}), "neg_log_loss"),
        "metric must be one for lists of labels, such as f1_macro, got neg_log_loss"
    );
    let error = refused(serde_json::json!({"class_weights": "balanced"}), "f1_macro");
    assert!(
        error.starts_with("class_weights must be left out"),
        "{error}"
    );
}
