//! The learning rate of each epoch. It is constant within an epoch.

use std::f64::consts::PI;

use crate::{Hyperparameters, ScheduleKind};

/// The learning rate of an epoch, counted from 0.
///
/// During warm-up it rises linearly to the full one; the schedule's own count starts
/// after that.
pub(crate) fn learning_rate(hyperparameters: &Hyperparameters, epoch: u32) -> f64 {
    let full = hyperparameters.learning_rate;
    let warmup = hyperparameters.warmup_epochs;
    if epoch < warmup {
        return full * f64::from(epoch + 1) / f64::from(warmup);
    }
    let past = f64::from(epoch - warmup);
    match kind(hyperparameters) {
        ScheduleKind::Constant => full,
        ScheduleKind::Exponential => {
            full * hyperparameters.decay.unwrap_or(0.95).powf(past)
        }
        ScheduleKind::Step => {
            let reductions = (past / f64::from(hyperparameters.decay_epochs)).floor();
            full * hyperparameters.decay.unwrap_or(0.1).powf(reductions)
        }
        ScheduleKind::Cosine => {
            let epochs = hyperparameters.epochs.saturating_sub(warmup).max(1);
            full * 0.5 * (1.0 + (PI * past / f64::from(epochs)).cos())
        }
    }
}

/// The schedule of a trial: the one that its hyperparameters name, or else the one that
/// their other keys imply.
pub(crate) fn kind(hyperparameters: &Hyperparameters) -> ScheduleKind {
    let default = match hyperparameters.decay {
        Some(_) => ScheduleKind::Exponential,
        None => ScheduleKind::Cosine,
    };
    hyperparameters.schedule.unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(hyperparameters: &Hyperparameters, expected: &[f64]) {
        for (epoch, expected) in (0..).zip(expected) {
            let actual = learning_rate(hyperparameters, epoch);
            assert!((actual - expected).abs() < 1e-12, "epoch {epoch}: {actual}");
        }
    }

    fn with(schedule: Option<ScheduleKind>) -> Hyperparameters {
        let default = Hyperparameters::default();
        Hyperparameters {
            learning_rate: 1.0,
            epochs: 4,
            schedule,
            ..default
        }
    }

    #[test]
    fn constant_stays() {
        check(&with(Some(ScheduleKind::Constant)), &[1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_decay_alone_is_exponential() {
        check(
            &Hyperparameters {
                decay: Some(0.5),
                ..with(None)
            },
            &[1.0, 0.5, 0.25],
        );
        check(&with(Some(ScheduleKind::Exponential)), &[1.0, 0.95, 0.9025]);
    }

    #[test]
    fn steps_keep_the_rate_between_reductions() {
        let step = with(Some(ScheduleKind::Step));
        check(
            &Hyperparameters {
                decay_epochs: 2,
                ..step
            },
            &[1.0, 1.0, 0.1, 0.1, 0.01],
        );
    }

    #[test]
    fn cosine_is_the_default_and_ends_near_zero() {
        let half = 0.5_f64.sqrt();
        let expected = [1.0, 0.5 * (1.0 + half), 0.5, 0.5 * (1.0 - half)];
        check(&with(Some(ScheduleKind::Cosine)), &expected);
        check(&with(None), &expected);
    }

    #[test]
    fn warm_up_comes_before_the_schedule() {
        let warm = Hyperparameters {
            warmup_epochs: 2,
            decay: Some(0.5),
            ..with(None)
        };
        check(&warm, &[0.5, 1.0, 1.0, 0.5, 0.25]);
    }
}
