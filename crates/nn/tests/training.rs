//! Whole trials through the public interface, on a small synthetic dataset.
#![expect(
    clippy::unwrap_used,
    reason = "clippy exempts tests but not their helpers"
)]

use std::sync::atomic::{AtomicBool, Ordering};

use atoll_nn::{
    Checkpoint, Dataset, Epoch, Error, Hyperparameters, ImageShape, Labels, Observer,
    Options, Outcome, Report, Split, resume, train, train_with,
};

/// Squares in one of three places, with some noise.
fn squares(rows: u32) -> Dataset {
    let shape = ImageShape {
        height: 8,
        width: 8,
        channels: 1,
    };
    let mut noise = 1_u32;
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    for row in 0..rows {
        let label = row % 3;
        for n in 0..64 {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let inside = n / 8 >= label * 2 && n / 8 < label * 2 + 3 && n % 8 < 4;
            pixels.push((noise >> 25) as u8 + if inside { 120 } else { 0 });
        }
        labels.push(label);
    }
    let names = ["top", "middle", "bottom"].map(str::to_owned).to_vec();
    Dataset::new(shape, pixels, labels, names).unwrap()
}

fn hyperparameters(json: &serde_json::Value) -> Hyperparameters {
    Hyperparameters::from_json(json.as_object().unwrap()).unwrap()
}

struct Silent;
impl Observer for Silent {}

fn trial(json: &serde_json::Value) -> Report {
    let dataset = squares(120);
    let split = Split::by_fraction(120, 0.25, 1).unwrap();
    train(&dataset, &split, &hyperparameters(json), &mut Silent).unwrap()
}

const SMALL: &str =
    "conv(4, 3), relu, max_pool(2), dense(16), relu, dropout(0.2), dense(3)";

#[test]
fn every_optimizer_learns() {
    for (optimizer, learning_rate) in [
        ("sgd", 0.05),
        ("adam", 0.01),
        ("adamw", 0.01),
        ("rmsprop", 0.003),
    ] {
        let report = trial(&serde_json::json!({
            "architecture": SMALL, "optimizer": optimizer, "learning_rate": learning_rate,
            "epochs": 8, "batch_size": 16,
        }));
        assert_eq!(report.outcome, Outcome::Succeeded);
        assert!(
            report.validation_accuracy >= 0.95,
            "{optimizer}: {report:?}"
        );
        assert_eq!(report.epochs, 8);
        assert_eq!(report.history.len(), 8);
    }
}

#[test]
fn the_report_is_that_of_the_best_epoch() {
    let report = trial(&serde_json::json!({
        "architecture": SMALL, "learning_rate": 0.05, "epochs": 6, "batch_size": 16,
    }));
    let best = &report.history[report.best_epoch as usize - 1];
    assert_eq!(best.epoch, report.best_epoch);
    assert_eq!(best.validation_accuracy, report.validation_accuracy);
    assert_eq!(best.validation_loss, report.validation_loss);
    assert_eq!(best.train_loss, report.train_loss);
    let largest = report.history.iter().map(|epoch| epoch.validation_accuracy);
    assert_eq!(largest.fold(0.0, f64::max), report.validation_accuracy);

    // The network that comes back has the weights of that epoch.
    let dataset = squares(120);
    let split = Split::by_fraction(120, 0.25, 1).unwrap();
    let logits = report.network.unwrap().logits(dataset.pixels()).unwrap();
    let right = split.validation.iter().filter(|&&row| {
        let logits = &logits[row as usize * 3..row as usize * 3 + 3];
        let best = (0..3)
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
            .unwrap();
        best == dataset.labels.indices()[row as usize] as usize
    });
    let accuracy = right.count() as f64 / split.validation.len() as f64;
    assert_eq!(accuracy, report.validation_accuracy);
}

/// Holds on one machine; another CPU level or cache size may sum in another order, which
/// is why the engine is part of a trial's identity.
#[test]
fn the_same_seed_gives_the_same_bits_whatever_runs_beside_it() {
    let json = |seed: u64| {
        serde_json::json!({
            "filters": [4, 8], "hidden": 32, "epochs": 2, "batch_size": 16, "seed": seed,
        })
    };
    let alone = trial(&json(1));
    let done = AtomicBool::new(false);
    let (beside, crowded) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let mut trials = 0;
            while trials == 0 || !done.load(Ordering::Relaxed) {
                trial(&json(2));
                trials += 1;
            }
            trials
        });
        let crowded = trial(&json(1));
        done.store(true, Ordering::Relaxed);
        (beside.join().unwrap(), crowded)
    });
    assert!(beside > 0);
    assert_eq!(alone.onnx.unwrap(), crowded.onnx.unwrap());
    let losses = |report: &[Epoch]| {
        report
            .iter()
            .map(|epoch| epoch.train_loss.to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(losses(&alone.history), losses(&crowded.history));
    assert_ne!(losses(&alone.history), losses(&trial(&json(2)).history));
}

#[test]
fn a_loss_that_is_not_finite_ends_the_trial_as_diverged() {
    for architecture in ["lenet", "mlp", SMALL] {
        for seed in 0..3 {
            let report = trial(&serde_json::json!({
                "architecture": architecture, "learning_rate": 1e6, "epochs": 5,
                "batch_size": 16, "seed": seed,
            }));
            let Outcome::Diverged { epoch } = report.outcome else {
                panic!("{architecture}: {report:?}");
            };
            assert_eq!(report.epochs, epoch - 1);
            assert_eq!(report.history.len(), report.epochs as usize);
            assert!(report.train_loss.is_finite(), "{report:?}");
            assert_eq!(report.onnx.is_some(), report.epochs > 0);
        }
    }
}

#[test]
fn patience_ends_a_trial_that_no_longer_improves() {
    // So small a step changes the loss by less than its rounding.
    let report = trial(&serde_json::json!({
        "architecture": "dense(3)", "learning_rate": 1e-30, "epochs": 50, "patience": 3,
    }));
    assert_eq!((report.best_epoch, report.epochs), (1, 4));
    assert_eq!(report.outcome, Outcome::Succeeded);
}

#[test]
fn the_schedule_is_seen_in_the_history() {
    let report = trial(&serde_json::json!({
        "architecture": "dense(3)", "learning_rate": 0.1, "epochs": 3, "decay": 0.5,
    }));
    let rates: Vec<_> = report
        .history
        .iter()
        .map(|epoch| epoch.learning_rate)
        .collect();
    assert_eq!(rates, [0.1, 0.05, 0.025]);
}

/// Stops before mini-batch `limit`.
#[derive(Default)]
struct Limited {
    limit: usize,
    asked: usize,
    steps: Vec<(usize, usize)>,
    epochs: Vec<u32>,
}

impl Observer for Limited {
    fn on_epoch(&mut self, epoch: &Epoch) {
        self.epochs.push(epoch.epoch);
    }

    fn on_step(&mut self, done: usize, total: usize) {
        self.steps.push((done, total));
    }

    fn should_stop(&mut self) -> bool {
        self.asked += 1;
        self.asked > self.limit
    }
}

#[test]
fn an_observer_can_cancel_at_any_mini_batch() {
    let dataset = squares(100);
    let split = Split::by_fraction(100, 0.2, 1).unwrap();
    let json = serde_json::json!({
        "architecture": "dense(3)", "epochs": 3, "batch_size": 20,
    });
    // An epoch asks four times while it trains and once while it validates.
    let mut observer = Limited {
        limit: 7,
        ..Limited::default()
    };
    let error = train(&dataset, &split, &hyperparameters(&json), &mut observer);
    assert!(matches!(error, Err(Error::Cancelled)));
    assert_eq!(observer.epochs, [1]);
    assert_eq!(observer.steps.first(), Some(&(1, 12)));
    assert_eq!(observer.steps.last(), Some(&(6, 12)));

    let mut observer = Limited {
        limit: usize::MAX,
        ..Limited::default()
    };
    train(&dataset, &split, &hyperparameters(&json), &mut observer).unwrap();
    assert_eq!(observer.asked, 15);
    assert_eq!(observer.steps.last(), Some(&(12, 12)));
}

#[test]
fn the_learning_rate_is_checked_before_anything_is_trained() {
    let dataset = squares(10);
    let split = Split::by_fraction(10, 0.2, 1).unwrap();
    let impossible = Hyperparameters {
        learning_rate: -1.0,
        ..Hyperparameters::default()
    };
    let error = train(&dataset, &split, &impossible, &mut Silent).unwrap_err();
    assert!(error.is_infeasible());
    assert_eq!(
        error.to_string(),
        "learning_rate must be greater than 0, got -1"
    );

    let wrong = Hyperparameters {
        architecture: "dense(7)".to_owned(),
        ..Hyperparameters::default()
    };
    let error = train(&dataset, &split, &wrong, &mut Silent).unwrap_err();
    assert!(error.is_infeasible());
    assert!(
        error.to_string().contains("end 'dense(7)' with dense(3)"),
        "{error}"
    );

    let empty = Split {
        train: vec![1],
        validation: vec![],
    };
    let error = train(&dataset, &empty, &Hyperparameters::default(), &mut Silent);
    assert_eq!(
        error.unwrap_err().to_string(),
        "dataset: the validation split has no rows"
    );
}

#[test]
fn only_training_images_are_changed() {
    // So small a step leaves the weights as they are.
    let json = |more: &str| {
        let text = format!(
            r#"{{"architecture": "dense(3)", "learning_rate": 1e-30, "epochs": 1 {more}}}"#
        );
        serde_json::from_str(&text).unwrap()
    };
    let plain = trial(&json(""));
    for more in [
        r#", "augmentation": {"shift": 2, "rotate": 90}"#,
        r#", "augmentation": {"cutout": 4}"#,
        r#", "mixup": 1"#,
        r#", "label_smoothing": 0.3"#,
    ] {
        let changed = trial(&json(more));
        assert_eq!(changed.validation_loss, plain.validation_loss, "{more}");
        assert_ne!(changed.train_loss, plain.train_loss, "{more}");
    }
}

#[test]
fn a_network_that_saw_only_changed_images_knows_the_others() {
    let report = trial(&serde_json::json!({
        "architecture": SMALL, "learning_rate": 0.05, "epochs": 12, "batch_size": 16,
        "augmentation": {"shift": 1, "rotate": 10, "scale": 0.1, "elastic": 0.5},
        "mixup": 0.2, "label_smoothing": 0.1, "ema_decay": 0.9,
    }));
    assert!(report.validation_accuracy >= 0.95, "{report:?}");
}

#[test]
fn an_average_is_validated_and_exported() {
    let json = |decay: f64| {
        serde_json::json!({
            "architecture": SMALL, "learning_rate": 0.05, "epochs": 3, "batch_size": 16,
            "ema_decay": decay,
        })
    };
    let (plain, average) = (trial(&json(0.0)), trial(&json(0.9)));
    // The average watches: it changes nothing of the training.
    let losses = |report: &Report| -> Vec<f64> {
        report
            .history
            .iter()
            .map(|epoch| epoch.train_loss)
            .collect()
    };
    assert_eq!(losses(&plain), losses(&average));
    assert_ne!(plain.validation_loss, average.validation_loss);
    assert_ne!(plain.onnx, average.onnx);
    let dataset = squares(120);
    let split = Split::by_fraction(120, 0.25, 1).unwrap();
    let logits = average.network.unwrap().logits(dataset.pixels()).unwrap();
    let losses = split.validation.iter().map(|&row| {
        let logits = &logits[row as usize * 3..row as usize * 3 + 3];
        let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        total.ln() - f64::from(logits[dataset.labels.indices()[row as usize] as usize])
    });
    let loss = losses.sum::<f64>() / split.validation.len() as f64;
    assert!((loss - average.validation_loss).abs() < 1e-6);
}

#[test]
fn an_augmentation_that_leaves_nothing_is_infeasible() {
    let dataset = squares(10);
    let split = Split::by_fraction(10, 0.2, 1).unwrap();
    let json =
        serde_json::json!({"architecture": "dense(3)", "augmentation": {"shift": 8}});
    let error =
        train(&dataset, &split, &hyperparameters(&json), &mut Silent).unwrap_err();
    assert!(error.is_infeasible());
    assert_eq!(
        error.to_string(),
        "augmentation.shift must be less than 8 for images of 8 x 8, got 8"
    );
}

/// Keeps the checkpoint of each epoch.
#[derive(Default)]
struct Keep(Vec<Checkpoint>);

impl Observer for Keep {
    fn wants_checkpoint(&mut self, _last: bool) -> bool {
        true
    }

    fn on_checkpoint(&mut self, checkpoint: Checkpoint) {
        self.0.push(checkpoint);
    }
}

fn with_checkpoints(json: &serde_json::Value) -> (Report, Vec<Checkpoint>) {
    let dataset = squares(120);
    let split = Split::by_fraction(120, 0.25, 1).unwrap();
    let mut keep = Keep::default();
    let report = train(&dataset, &split, &hyperparameters(json), &mut keep).unwrap();
    (report, keep.0)
}

fn resumed(
    checkpoint: &Checkpoint,
    json: &serde_json::Value,
) -> Result<(Report, Vec<Checkpoint>), Error> {
    let dataset = squares(120);
    let split = Split::by_fraction(120, 0.25, 1).unwrap();
    let mut keep = Keep::default();
    // As a file would have it.
    let checkpoint = Checkpoint::from_bytes(checkpoint.bytes().to_vec())?;
    let hyperparameters = hyperparameters(json);
    let report = resume(&checkpoint, &dataset, &split, &hyperparameters, &mut keep)?;
    Ok((report, keep.0))
}

#[track_caller]
fn check_equal(resumed: &Report, whole: &Report) {
    let timeless = |report: &Report| -> Vec<Epoch> {
        let epochs = report.history.iter();
        epochs
            .map(|epoch| Epoch {
                seconds: 0.0,
                ..epoch.clone()
            })
            .collect()
    };
    assert_eq!(timeless(resumed), timeless(whole));
    assert_eq!(resumed.best_epoch, whole.best_epoch);
    assert_eq!(resumed.onnx, whole.onnx);
}

#[test]
fn three_epochs_and_two_are_five() {
    for optimizer in ["sgd", "adam", "adamw", "rmsprop"] {
        let json = |epochs: u32| {
            serde_json::json!({
                "architecture": "conv(4, 3), batch_norm, relu, max_pool(2), dropout(0.2), \
                                 dense(16), relu, dropout(0.5), dense(3)",
                "optimizer": optimizer, "epochs": epochs, "batch_size": 16,
                "learning_rate": 0.003, "decay": 0.8, "warmup_epochs": 2,
                "augmentation": {"shift": 1, "rotate": 10, "elastic": 0.5, "cutout": 2},
                "mixup": 0.2, "label_smoothing": 0.1, "ema_decay": 0.9,
            })
        };
        let (whole, all) = with_checkpoints(&json(5));
        assert_eq!(all.len(), 5);
        let (_, three) = with_checkpoints(&json(3));
        let (report, rest) = resumed(&three[2], &json(5)).unwrap();
        check_equal(&report, &whole);
        let digests = |all: &[Checkpoint]| -> Vec<String> {
            all.iter()
                .map(|checkpoint| checkpoint.sha256().to_owned())
                .collect()
        };
        assert_eq!(digests(&rest), digests(&all[3..]));
        // Without averages and mixtures there is less to remember.
        let (whole, all) = with_checkpoints(&serde_json::json!({
            "architecture": SMALL, "optimizer": optimizer, "epochs": 2, "batch_size": 16,
        }));
        let json = serde_json::json!({
            "architecture": SMALL, "optimizer": optimizer, "epochs": 2, "batch_size": 16,
        });
        check_equal(&resumed(&all[0], &json).unwrap().0, &whole);
        check_equal(&resumed(&all[1], &json).unwrap().0, &whole);
    }
}

/// Whatever the layers: one epoch and another are two.
#[test]
fn every_layer_goes_on_from_a_checkpoint() {
    for architecture in [
        "conv(4, 3, groups: 1), relu, conv(6, 3, groups: 2), batch_norm, relu, \
         depthwise_conv(3), batch_norm, relu, dropout(0.2), dense(3)",
        "mobilenet",
        "patches(2, 6), positions, residual(layer_norm, attention(2), dropout(0.1)), \
         layer_norm, gelu, flatten, tokens(4), attention(1), dense(3)",
        "vit_tiny",
    ] {
        let json = |epochs: u32| {
            serde_json::json!({
                "architecture": architecture, "epochs": epochs, "batch_size": 16,
                "schedule": "constant",
            })
        };
        let (whole, all) = with_checkpoints(&json(2));
        assert_eq!(all.len(), 2);
        let (report, _) = resumed(&all[0], &json(2)).unwrap();
        check_equal(&report, &whole);
    }
}

#[test]
fn a_schedule_that_goes_on_is_stopped_and_resumed() {
    let json = |stop_after: Option<u32>| {
        serde_json::json!({
            "architecture": SMALL, "epochs": 5, "schedule": "cosine", "batch_size": 16,
            "stop_after": stop_after,
        })
    };
    let (whole, _) = with_checkpoints(&json(None));
    let (stopped, three) = with_checkpoints(&json(Some(3)));
    assert_eq!((stopped.outcome, stopped.epochs), (Outcome::Succeeded, 3));
    check_equal(&resumed(&three[2], &json(None)).unwrap().0, &whole);

    // A cosine of another length has other learning rates from the first epoch on.
    let mut longer = json(None);
    longer["epochs"] = 6.into();
    let error = resumed(&three[2], &longer).unwrap_err();
    let text = error.to_string();
    let expected = "epochs must be 5 as in the checkpoint that it resumes from; train";
    assert!(text.starts_with(expected), "{text}");
    // It is the default too.
    longer["schedule"] = serde_json::Value::Null;
    assert!(resumed(&three[2], &longer).is_err());
    assert!(error.is_infeasible());
}

#[test]
fn patience_counts_across_a_checkpoint() {
    let json = |epochs: u32| {
        serde_json::json!({
            "architecture": "dense(3)", "learning_rate": 1e-30, "epochs": epochs,
            "patience": 3, "schedule": "constant",
        })
    };
    let (whole, _) = with_checkpoints(&json(9));
    assert_eq!(whole.epochs, 4);
    let (_, two) = with_checkpoints(&json(2));
    check_equal(&resumed(&two[1], &json(9)).unwrap().0, &whole);
    let (_, four) = with_checkpoints(&json(4));
    check_equal(&resumed(&four[3], &json(9)).unwrap().0, &whole);
}

#[test]
fn a_checkpoint_of_something_else_is_refused() {
    let json = serde_json::json!({
        "architecture": "dense(3)", "epochs": 2, "schedule": "constant",
    });
    let (_, all) = with_checkpoints(&json);
    let check = |json: serde_json::Value, expected: &str| {
        let error = resumed(&all[1], &json).unwrap_err();
        assert!(error.is_infeasible());
        assert_eq!(error.to_string(), expected);
    };
    check(
        serde_json::json!({
            "architecture": "dense(3)", "epochs": 2, "schedule": "constant",
            "learning_rate": 0.5,
        }),
        "learning_rate must be 0.01 as in the checkpoint that it resumes from, got 0.5",
    );
    check(
        serde_json::json!({
            "architecture": "dense(3)", "epochs": 1, "schedule": "constant",
        }),
        "epochs must be at least 2, which the checkpoint that it resumes from has already, \
         got 1",
    );
    let dataset = squares(120);
    let split = Split::by_fraction(120, 0.25, 2).unwrap();
    let hyperparameters = hyperparameters(&json);
    let other = resume(&all[1], &dataset, &split, &hyperparameters, &mut Silent);
    assert_eq!(
        other.unwrap_err().to_string(),
        "checkpoint: it is of another dataset or split"
    );
}

#[test]
fn a_damaged_checkpoint_is_noticed() {
    let json = serde_json::json!({"architecture": "dense(3)", "epochs": 1});
    let (_, all) = with_checkpoints(&json);
    let bytes = all[0].bytes();
    for damaged in [
        &bytes[..bytes.len() - 1],
        &bytes[..40],
        &bytes[1..],
        b"",
        b"ATOLLCP1",
    ] {
        let error = Checkpoint::from_bytes(damaged.to_vec()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "checkpoint: it is damaged or no checkpoint"
        );
    }
    let mut flipped = bytes.to_vec();
    let place = flipped.len() - 20;
    flipped[place] ^= 1;
    let flipped = Checkpoint::from_bytes(flipped).unwrap();
    assert_ne!(flipped.sha256(), all[0].sha256());
}

/// Two numbers and one that follows from them, in units far from 1.
fn prices(rows: u32) -> Dataset {
    let mut noise = 1_u32;
    let mut random = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(noise >> 8) / 16_777_216.0
    };
    let (mut numbers, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let (area, age) = (50.0 + 100.0 * random(), 1_900.0 + 100.0 * random());
        numbers.extend([area, age]);
        labels.push(3_000.0 * area - 1_000.0 * (2_000.0 - age) + 1_000.0 * random());
    }
    Dataset::of_numbers(2, numbers, Labels::Numbers(labels)).unwrap()
}

fn regression(json: &serde_json::Value) -> Result<Report, Error> {
    let split = Split::by_fraction(400, 0.25, 1).unwrap();
    train(&prices(400), &split, &hyperparameters(json), &mut Silent)
}

#[test]
fn a_number_is_predicted_in_its_own_units() {
    // Within 1,000 there is only noise, whose standard deviation is 289.
    for json in [
        serde_json::json!({"architecture": "dense(1)", "epochs": 20, "loss": "mse"}),
        serde_json::json!({"epochs": 60, "hidden": 32, "learning_rate": 0.03}),
    ] {
        let report = regression(&json).unwrap();
        let error = report.validation_loss.sqrt();
        assert!((200.0..4_000.0).contains(&error), "{json}: {error}");
        assert!(
            (200.0..4_000.0).contains(&report.train_loss.sqrt()),
            "{report:?}"
        );
        assert!(report.validation_accuracy.is_nan());
        let losses = report.history.iter().map(|epoch| epoch.validation_loss);
        assert_eq!(losses.fold(f64::MAX, f64::min), report.validation_loss);
    }
}

/// `1e9 + 3x` with noise, from seconds since 1970: 32 bits tell neither apart.
#[test]
fn large_numbers_that_differ_little_are_learned() {
    let rows = 400;
    let place = |n: u32| f64::from(n * 37 % rows);
    let numbers = (0..rows).map(|n| 1_700_000_000.0 + place(n)).collect();
    let noise = |n: u32| f64::from(n * 7_919 % 1_000) / 1_000.0 - 0.5;
    let labels = (0..rows).map(|n| 1e9 + 3.0 * place(n) + noise(n));
    let labels = Labels::Numbers(labels.collect());
    let dataset = Dataset::of_numbers(1, numbers, labels).unwrap();
    assert!(dataset.wide.features && dataset.wide.labels);
    let split = Split::by_fraction(rows as usize, 0.25, 1).unwrap();
    let json = serde_json::json!({
        "architecture": "dense(1)", "epochs": 40, "learning_rate": 0.05
    });
    let report = train(&dataset, &split, &hyperparameters(&json), &mut Silent).unwrap();
    // The variance of the noise is a twelfth; that of the labels is 120,000.
    let loss = report.validation_loss;
    assert!((0.04..0.5).contains(&loss), "{loss}");
}

#[test]
fn mixup_averages_and_checkpoints_are_for_numbers_too() {
    let json = |epochs: u32| {
        serde_json::json!({
            "hidden": 16, "epochs": epochs, "mixup": 0.2, "ema_decay": 0.9, "dropout": 0.1,
            "schedule": "constant",
        })
    };
    let split = Split::by_fraction(400, 0.25, 1).unwrap();
    let mut keep = Keep::default();
    let dataset = prices(400);
    train(&dataset, &split, &hyperparameters(&json(3)), &mut keep).unwrap();
    let five = hyperparameters(&json(5));
    let whole = train(&dataset, &split, &five, &mut Silent).unwrap();
    let resumed = resume(&keep.0[2], &dataset, &split, &five, &mut Silent).unwrap();
    assert_eq!(resumed.onnx, whole.onnx);
    assert_eq!(resumed.validation_loss, whole.validation_loss);
}

#[test]
fn what_does_not_go_with_numbers_is_infeasible() {
    let check = |json: serde_json::Value, expected: &str| {
        let error = regression(&json).unwrap_err();
        assert!(error.is_infeasible());
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(
        serde_json::json!({"architecture": "lenet"}),
        "it needs an image, but gets a vector of 2 values",
    );
    check(
        serde_json::json!({"augmentation": {"shift": 1}}),
        "augmentation must be left out for features that are no images",
    );
    check(
        serde_json::json!({"loss": "cross_entropy"}),
        "loss must be mse for labels that are numbers and no class indices, got",
    );
    check(
        serde_json::json!({"architecture": "dense(2)"}),
        "the last layer must give one value, the number that it predicts, but it gives",
    );
    let dataset = squares(10);
    let split = Split::by_fraction(10, 0.2, 1).unwrap();
    let mse = hyperparameters(&serde_json::json!({"loss": "mse"}));
    let error = train(&dataset, &split, &mse, &mut Silent).unwrap_err();
    assert_eq!(
        error.to_string(),
        "loss must be cross_entropy for labels of text, got mse"
    );
}

#[test]
fn rows_of_numbers_have_classes_too() {
    let prices = prices(400);
    let Labels::Numbers(labels) = &prices.labels else {
        panic!("{prices:?}");
    };
    let classes = labels
        .iter()
        .map(|&label| u32::from(label > 250_000.0))
        .collect();
    let names = ["cheap", "dear"].map(str::to_owned).to_vec();
    let labels = Labels::Classes {
        indices: classes,
        names,
    };
    let atoll_nn::Features::Numbers(numbers) = prices.features else {
        panic!("prices are numbers");
    };
    let dataset = Dataset::of_numbers(2, numbers, labels).unwrap();
    let split = Split::by_fraction(400, 0.25, 1).unwrap();
    let json = serde_json::json!({"hidden": 16, "epochs": 20, "learning_rate": 0.05});
    let report = train(&dataset, &split, &hyperparameters(&json), &mut Silent).unwrap();
    assert!(report.validation_accuracy > 0.95, "{report:?}");
}

#[test]
fn threads_change_no_bit_of_a_model() {
    let dataset = squares(200);
    let split = Split::by_fraction(200, 0.25, 1).unwrap();
    let json = serde_json::json!({
        "architecture": "conv(8, 3), batch_norm, relu, max_pool(2), conv(16, 3), relu, \
                         dropout(0.2), dense(3)",
        "batch_size": 128,
        "epochs": 2,
        "clip_norm": 1.0,
    });
    let model = |threads: usize| {
        let options = Options {
            threads,
            ..Options::default()
        };
        let hyperparameters = hyperparameters(&json);
        train_with(&dataset, &split, &hyperparameters, options, &mut Silent)
            .unwrap()
            .onnx
            .unwrap()
    };
    let alone = model(1);
    assert!(model(2) == alone);
    assert!(model(4) == alone);
}
