//! Studies and labelled images for tests.

use atoll_report::{
    CalibrationBin, ClassScores, Epoch, ErrorCode, Evaluation, FailedImage,
    LabelledImage, Labelling, Status, Study, Thumbnail, Trial, Value, WorstImage,
};
use rand::RngExt;
use rand::SeedableRng;
use rand_pcg::Pcg64;

pub(crate) const HOSTILE: &str = "</title><script>alert(1)</script><img src=x onerror\u{3d}\"alert(2)\">&'\"\u{0}\u{1b}[31m";

fn number(value: f64) -> Value {
    Value::Number(value)
}

fn text(value: &str) -> Value {
    Value::Text(value.to_string())
}

/// A trial that learns towards an error.
pub(crate) fn trial(id: usize, values: Vec<Value>, error: f64, epochs: u32) -> Trial {
    let history: Vec<Epoch> = (1..=epochs)
        .map(|epoch| {
            let now = error + (0.9 - error) * (-f64::from(epoch) / 2.0).exp();
            Epoch {
                epoch,
                train_loss: Some(now * 2.0),
                loss: Some(now * 2.5),
                accuracy: Some(1.0 - now),
            }
        })
        .collect();
    let last = history.last().cloned().unwrap_or_default();
    Trial {
        id: Some(format!("{id:064x}")),
        values,
        status: Status::Succeeded,
        accuracy: last.accuracy,
        loss: last.loss,
        best_epoch: Some(epochs),
        seconds: Some(1.0 + id as f64 % 3.0),
        history,
        model: Some(format!("/storage/models/{id}.onnx")),
        started_at: Some(1_795_000_000.0 + (id / 2) as f64 * 2.5),
        worker: Some(format!("host:4711/{}", id % 2)),
        ..Trial::default()
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_string()).collect()
}

/// A grid, as the jobs make it.
pub(crate) fn digits() -> Study {
    let mut trials = Vec::new();
    for (n, rate) in [0.01, 0.021_544, 0.046_416, 0.1].into_iter().enumerate() {
        for (m, hidden) in [32.0, 64.0, 128.0].into_iter().enumerate() {
            let error = 0.02 + 0.03 * (n as f64 - 1.7).powi(2) / (m as f64 + 1.0);
            let values = vec![number(rate), number(hidden)];
            trials.push(trial(trials.len(), values, error, 8));
        }
    }
    Study {
        name: "out/digits".to_string(),
        hyperparameters: names(&["learning_rate", "hidden"]),
        trials,
        data: Some("1437 rows".to_string()),
        again: Some("SELECT train('digits', {hidden: 32}) AS trial;".to_string()),
        test: Some(Box::new(Evaluation {
            dataset: "digits".to_string(),
            rows: 20,
            accuracy: Some((0.9, 0.7, 0.97)),
            loss: Some(0.3),
            classes: vec!["zero".to_string(), "one".to_string()],
            confusion: vec![vec![9, 1], vec![1, 9]],
            scores: ["zero", "one"]
                .map(|class| ClassScores {
                    class: class.to_string(),
                    precision: 0.9,
                    recall: 0.9,
                    f1: 0.9,
                    support: 10,
                })
                .to_vec(),
            calibration: vec![
                CalibrationBin {
                    rows: 4,
                    confidence: 0.55,
                    accuracy: 0.5,
                },
                CalibrationBin {
                    rows: 16,
                    confidence: 0.95,
                    accuracy: 1.0,
                },
            ],
            calibration_error: Some(0.05),
            worst: vec![WorstImage {
                label: "zero".to_string(),
                predicted: "one".to_string(),
                probability: 0.01,
                loss: 4.6,
                thumbnail: Thumbnail::of_numbers(&[0.0, 1.0, 2.0, 3.0], 3.0),
            }],
        })),
        ..Study::default()
    }
}

/// A random search in five hyperparameters, of which two matter.
pub(crate) fn random(count: usize) -> Study {
    let mut rng = Pcg64::seed_from_u64(7);
    let trials = (0..count)
        .map(|id| {
            let rate = 10_f64.powf(rng.random_range(-4.0..0.0));
            let hidden = f64::from(rng.random_range(16..1024));
            let decay = 10_f64.powf(rng.random_range(-6.0..-2.0));
            let optimizer = ["sgd", "adam", "rmsprop"][rng.random_range(0..3)];
            let error = 0.01 + 0.05 * (rate.log10() + 2.0).powi(2) + 3.0 / hidden;
            let values = vec![
                number(rate),
                number(hidden),
                number(decay),
                text(optimizer),
                number(id as f64),
            ];
            trial(id, values, error.min(0.9), 5 + id as u32 % 4)
        })
        .collect();
    Study {
        name: "random".to_string(),
        hyperparameters: names(&[
            "learning_rate",
            "hidden",
            "weight_decay",
            "optimizer",
            "seed",
        ]),
        trials,
        ..Study::default()
    }
}

/// A search with a pruner and two objectives, as `tune` makes it.
pub(crate) fn searched() -> Study {
    let mut study = random(60);
    study.name = "searched".to_string();
    study.objectives = names(&["validation_error", "cost"]);
    for (id, trial) in study.trials.iter_mut().enumerate() {
        let rung = match id {
            n if n % 9 == 0 => 2,
            n if n % 3 == 0 => 1,
            _ => 0,
        };
        let hidden = trial.values[1].number().unwrap();
        let rate = trial.values[0].number().unwrap();
        let error = 0.01 + 0.05 * (rate.log10() + 2.0).powi(2) + 3.0 / hidden;
        *trial = self::trial(id, trial.values.clone(), error.min(0.9), 3_u32.pow(rung));
        trial.number = Some(id as u64);
        trial.rung = Some(rung);
        if rung < 2 {
            trial.status = Status::Pruned;
        }
        trial.objectives = vec![1.0 - trial.accuracy.unwrap(), hidden * 1e6];
    }
    study
}

/// Trials that ended in every way.
pub(crate) fn failures() -> Study {
    let mut study = digits();
    study.test = None;
    for (trial, status) in study.trials.iter_mut().zip([
        Status::Diverged,
        Status::Pruned,
        Status::TimedOut,
        Status::Failed,
        Status::Infeasible,
        Status::Unknown,
    ]) {
        trial.status = status;
        trial.error = Some("it went wrong".to_string());
        trial.history.truncate(4);
    }
    let gone = &mut study.trials[0];
    gone.history.clear();
    (gone.accuracy, gone.loss) = (None, None);
    let nan = &mut study.trials[7];
    nan.history[3].accuracy = Some(f64::NAN);
    nan.loss = Some(f64::NAN);
    study.trials[8].history.truncate(3);
    study.trials[9].accuracy = Some(1.0);
    study.trials[10].values = vec![Value::Null, Value::Null];
    study
}

pub(crate) fn one() -> Study {
    let mut study = digits();
    study.trials.truncate(1);
    study
}

pub(crate) fn empty() -> Study {
    Study {
        trials: Vec::new(),
        test: None,
        ..digits()
    }
}

/// Hyperparameters that are no numbers, and NULLs.
pub(crate) fn texts() -> Study {
    let mut trials = Vec::new();
    for optimizer in ["sgd", "adam"] {
        for (n, layers) in [
            "dense(10)",
            "conv(8, 3), relu, max_pool(2), dense(64), relu, dense(10)",
        ]
        .into_iter()
        .enumerate()
        {
            for decay in [Value::Null, number(0.1)] {
                let values = vec![text(optimizer), text(layers), decay, number(0.1)];
                trials.push(trial(trials.len(), values, 0.1 + 0.1 * n as f64, 3));
            }
        }
    }
    Study {
        name: "texts".to_string(),
        hyperparameters: names(&[
            "optimizer",
            "architecture",
            "weight_decay",
            "learning_rate",
        ]),
        trials,
        ..Study::default()
    }
}

/// Markup wherever a text can be.
pub(crate) fn hostile() -> Study {
    let mut study = texts();
    study.name = HOSTILE.to_string();
    study.hyperparameters[0] = HOSTILE.to_string();
    for (n, trial) in study.trials.iter_mut().enumerate() {
        trial.values[0] = Value::Text(format!("{HOSTILE}{}", n % 3));
        trial.worker = Some(HOSTILE.to_string());
        trial.model = Some(HOSTILE.to_string());
        trial.id = Some(HOSTILE.to_string());
    }
    study.trials[0].status = Status::Failed;
    study.trials[0].error = Some(HOSTILE.to_string());
    study.data = Some(HOSTILE.to_string());
    study.again = Some(HOSTILE.to_string());
    study.test = Some(Box::new(Evaluation {
        dataset: HOSTILE.to_string(),
        classes: vec![HOSTILE.to_string(); 2],
        scores: vec![ClassScores {
            class: HOSTILE.to_string(),
            ..ClassScores::default()
        }],
        worst: vec![WorstImage {
            label: HOSTILE.to_string(),
            predicted: HOSTILE.to_string(),
            ..WorstImage::default()
        }],
        ..*digits().test.unwrap()
    }));
    study
}

pub(crate) fn labelled() -> Labelling {
    let image = |name: &str| LabelledImage {
        filename: format!("photos/{name}"),
        labels: vec![(HOSTILE.to_string(), 0.7), ("daisy".to_string(), 0.2)],
        thumbnail: Thumbnail::of_numbers(&[0.0, 1.0, 2.0, 3.0], 3.0),
        remark: None,
    };
    Labelling {
        name: HOSTILE.to_string(),
        images: 100,
        scores: (0..95).map(|n| f64::from(n) / 95.0).collect(),
        labels: vec![(HOSTILE.to_string(), 60), ("daisy".to_string(), 35)],
        errors: vec![ErrorCode {
            code: HOSTILE.to_string(),
            count: 5,
            examples: vec![FailedImage {
                filename: HOSTILE.to_string(),
                error: HOSTILE.to_string(),
                thumbnail: None,
            }],
        }],
        times: vec![(1_795_000_000.0, 60), (1_795_000_090.5, 40)],
        models: vec![HOSTILE.to_string()],
        surest: vec![image("a.jpg"), image(HOSTILE)],
        least_sure: vec![LabelledImage {
            thumbnail: None,
            remark: Some(HOSTILE.to_string()),
            ..image("b.jpg")
        }],
    }
}

/// Whether tags close in the order in which they opened and texts have no markup.
pub(crate) fn check_xml(text: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let (words, tag) = (&rest[..start], &rest[start + 1..]);
        check_words(words)?;
        let end = tag.find('>').ok_or("a tag without an end")?;
        let inside = &tag[..end];
        let name = inside.trim_start_matches('/').split([' ', '/']).next();
        let name = name.unwrap_or_default();
        match (inside.starts_with('/'), inside.ends_with('/')) {
            (true, _) if open.pop() == Some(name) => {}
            (true, _) => return Err(format!("</{name}> closes something else")),
            (false, true) => {}
            (false, false) => open.push(name),
        }
        rest = &tag[end + 1..];
    }
    check_words(rest)?;
    match open[..] {
        [] => Ok(()),
        _ => Err(format!("{open:?} stay open")),
    }
}

fn check_words(words: &str) -> Result<(), String> {
    match words.chars().find(|c| c.is_control() && *c != '\n') {
        Some(c) => Err(format!("the control character {c:?}")),
        None => Ok(()),
    }
}
