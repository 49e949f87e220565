//! Scores are scikit-learn's. The numbers are those of version 1.9.1 for the arrays below,
//! `a = P.argmax(axis=1)`.

use atoll_nn::scores::{
    ClassAnswers, Metric, NumberAnswers, SetAnswers, calibration, calibration_error,
};

fn three() -> ClassAnswers {
    let probabilities = [
        [0.7, 0.2, 0.1],
        [0.1, 0.6, 0.3],
        [0.2, 0.2, 0.6],
        [0.5, 0.3, 0.2],
        [0.25, 0.5, 0.25],
        [0.3, 0.45, 0.25],
        [0.05, 0.15, 0.8],
        [0.6, 0.3, 0.1],
        [0.9, 0.05, 0.05],
        [0.1, 0.55, 0.35],
        [0.2, 0.1, 0.7],
        [0.35, 0.4, 0.25],
    ];
    ClassAnswers {
        classes: 3,
        labels: vec![0, 1, 2, 2, 1, 0, 2, 1, 0, 2, 2, 1],
        probabilities: probabilities.concat(),
    }
}

fn two() -> ClassAnswers {
    let second: [f64; 8] = [0.2, 0.8, 0.6, 0.6, 0.3, 0.1, 1.0, 0.55];
    ClassAnswers {
        classes: 2,
        labels: vec![0, 1, 1, 0, 1, 0, 1, 1],
        probabilities: second.iter().flat_map(|p| [1.0 - p, *p]).collect(),
    }
}

fn numbers() -> NumberAnswers {
    NumberAnswers {
        labels: vec![3.0, -0.5, 2.0, 7.0, 4.25],
        predictions: vec![2.5, 0.0, 2.0, 8.0, 4.0],
    }
}

#[track_caller]
fn check(name: &str, found: Option<f64>, expected: f64) {
    let is_near = found.is_some_and(|found| (found - expected).abs() < 1e-12);
    assert!(is_near, "{name}: {found:?} {expected}");
}

/// Each metric is the scorer of the same name.
#[test]
fn metrics_of_three_classes() {
    for (name, expected) in [
        ("accuracy", 8.0 / 12.0),
        ("balanced_accuracy", 0.672_222_222_222_222_2),
        ("f1_macro", 0.662_698_412_698_412_7),
        ("f1_micro", 0.666_666_666_666_666_6),
        ("f1_weighted", 0.677_579_365_079_365),
        ("precision_macro", 0.7),
        ("precision_weighted", 0.741_666_666_666_666_7),
        ("recall_macro", 0.672_222_222_222_222_2),
        ("recall_weighted", 0.666_666_666_666_666_6),
        ("matthews_corrcoef", 0.521_276_595_744_680_9),
        ("top_k_accuracy", 0.916_666_666_666_666_6),
        ("roc_auc_ovr", 0.867_576_058_201_058_2),
        ("roc_auc_ovr_weighted", 0.867_311_507_936_507_9),
        ("neg_log_loss", -0.728_345_730_033_352_6),
        ("neg_brier_score", -0.425_833_333_333_333_3),
    ] {
        let metric = Metric::named(name).unwrap();
        check(name, metric.of_classes(&three()), expected);
        assert_eq!(metric.of_numbers(&numbers()), None);
    }
    // Those about the second of two classes say nothing of three.
    assert_eq!(Metric::named("f1").unwrap().of_classes(&three()), None);
}

#[test]
fn metrics_of_two_classes() {
    for (name, expected) in [
        ("f1", 0.8),
        ("precision", 0.8),
        ("recall", 0.8),
        ("matthews_corrcoef", 0.466_666_666_666_666_7),
        ("roc_auc", 0.833_333_333_333_333_4),
        ("roc_auc_ovr", 0.833_333_333_333_333_4),
        ("neg_log_loss", -0.472_571_722_375_993_54),
        ("neg_brier_score", -0.162_812_5),
    ] {
        let metric = Metric::named(name).unwrap();
        check(name, metric.of_classes(&two()), expected);
    }
}

#[test]
fn metrics_of_numbers() {
    for (name, expected) in [
        ("neg_mean_squared_error", -0.3125),
        ("neg_root_mean_squared_error", -0.559_016_994_374_947_5),
        ("neg_mean_absolute_error", -0.45),
        ("r2", 0.949_104_234_527_687_3),
    ] {
        let metric = Metric::named(name).unwrap();
        check(name, metric.of_numbers(&numbers()), expected);
        assert_eq!(metric.of_classes(&three()), None);
    }
}

// >>> precision_recall_fscore_support(y, a)
#[test]
fn each_class() {
    let classes = three().confusion().classes();
    for (class, expected) in classes.iter().zip([
        [0.5, 2.0 / 3.0, 4.0 / 7.0, 3.0],
        [0.6, 0.75, 2.0 / 3.0, 4.0],
        [1.0, 0.6, 0.75, 5.0],
    ]) {
        let found = [
            class.precision,
            class.recall,
            class.f1,
            class.support as f64,
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{class:?}");
        }
    }
}

// >>> calibration_curve(a == y, P.max(axis=1), n_bins=10)
#[test]
fn the_calibration_curve() {
    let bins = calibration(&three(), 10);
    let accuracy = [1.0, 1.0 / 3.0, 0.5, 1.0, 1.0, 1.0];
    let confidence = [0.4, 0.483_333_333_333_333_34, 0.5875, 0.7, 0.8, 0.9];
    assert_eq!(bins.len(), 6);
    for ((bin, accuracy), confidence) in bins.iter().zip(accuracy).zip(confidence) {
        assert!((bin.accuracy - accuracy).abs() < 1e-12, "{bin:?}");
        assert!((bin.confidence - confidence).abs() < 1e-12, "{bin:?}");
    }
    // By hand: (0.6 + 3 * 0.15 + 4 * 0.0875 + 2 * 0.3 + 0.2 + 0.1) / 12.
    assert!((calibration_error(&bins) - 2.3 / 12.0).abs() < 1e-12);
}

#[test]
fn the_order_of_rows_changes_no_bit() {
    let answers = three();
    let mut turned = answers.clone();
    turned.labels.reverse();
    let rows = answers.probabilities.chunks(3).rev();
    turned.probabilities = rows.flatten().copied().collect();
    for metric in Metric::names().filter_map(Metric::named) {
        let bits = |answers| metric.of_classes(answers).map(f64::to_bits);
        assert_eq!(bits(&answers), bits(&turned), "{}", metric.name());
    }
}

#[test]
fn what_is_not_defined_is_not_a_number() {
    let one = ClassAnswers {
        classes: 2,
        labels: vec![1, 1],
        probabilities: vec![0.4, 0.6, f64::NAN, f64::NAN],
    };
    assert_eq!(one.roc_auc(), None);
    assert_eq!(one.confusion().right(), 1);
    assert_eq!(one.confusion().support, [0, 2]);
    assert!(one.log_loss().is_nan());
    assert_eq!(one.top_k(2), 1);
    let constant = NumberAnswers {
        labels: vec![2.0, 2.0],
        predictions: vec![2.0, 3.0],
    };
    assert_eq!(constant.r2(), 0.0);
}

// >>> Y = [[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 1, 1]]
// >>> P = [[.9, .2, .7], [.4, .8, .1], [.3, .6, .2], [.1, .6, .4], [.2, .9, .45]]
// >>> A = (numpy.array(P) > .5).astype(int)
#[test]
fn metrics_of_sets_of_labels() {
    let sets = SetAnswers {
        classes: 3,
        labels: vec![vec![0, 2], vec![1], vec![0, 1], vec![], vec![1, 2]],
        probabilities: vec![
            0.9, 0.2, 0.7, 0.4, 0.8, 0.1, 0.3, 0.6, 0.2, 0.1, 0.6, 0.4, 0.2, 0.9, 0.45,
        ],
    };
    for (name, expected) in [
        ("accuracy", 0.4),
        ("f1_macro", 0.730_158_730_158_730_1),
        ("f1_micro", 0.769_230_769_230_769_3),
        ("f1_weighted", 0.748_299_319_727_891_1),
        ("precision_macro", 0.916_666_666_666_666_6),
        ("precision_weighted", 0.892_857_142_857_142_8),
        ("recall_macro", 0.666_666_666_666_666_6),
        ("recall_weighted", 0.714_285_714_285_714_3),
        ("roc_auc_ovr", 0.916_666_666_666_666_6),
    ] {
        let metric = Metric::named(name).unwrap();
        assert!(metric.is_for_sets());
        check(name, metric.of_sets(&sets), expected);
    }
    assert!(!Metric::named("neg_log_loss").unwrap().is_for_sets());
}
