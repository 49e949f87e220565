//! The domains of hyperparameters.

use super::{Hyperparameters, MAX_EPOCHS, OptimizerKind, check, places, refuse};
use crate::Error;
use crate::architecture::{Preset, parse};

impl Hyperparameters {
    pub(super) fn check_steps(&self) -> Result<(), Error> {
        let below_one = "at least 0 and less than 1";
        let unit = |x: f64| (0.0..1.0).contains(&x);
        let positive = |x: f64| x > 0.0;
        check(
            "learning_rate",
            self.learning_rate,
            "greater than 0",
            positive,
        )?;
        check("momentum", self.momentum, below_one, unit)?;
        check("beta1", self.beta1, below_one, unit)?;
        check("beta2", self.beta2, below_one, unit)?;
        check("epsilon", self.epsilon, "greater than 0", positive)?;
        check("rho", self.rho, below_one, unit)?;
        check("weight_decay", self.weight_decay, "at least 0", |x| {
            x >= 0.0
        })?;
        if let Some(clip_norm) = self.clip_norm {
            check("clip_norm", clip_norm, "greater than 0", positive)?;
        }
        if let Some(decay) = self.decay {
            let domain = "greater than 0 and at most 1";
            check("decay", decay, domain, |x| x > 0.0 && x <= 1.0)?;
        }
        if self.nesterov && self.momentum == 0.0 && self.optimizer == OptimizerKind::Sgd {
            return refuse("momentum", "greater than 0 when nesterov is true", &0);
        }
        Ok(())
    }

    pub(super) fn check_training(&self) -> Result<(), Error> {
        if self.batch_size == 0 {
            return refuse("batch_size", "at least 1", &0);
        }
        if self.epochs == 0 || self.epochs > MAX_EPOCHS {
            return refuse("epochs", &format!("from 1 to {MAX_EPOCHS}"), &self.epochs);
        }
        if let Some(last) = self.stop_after
            && !(1..=self.epochs).contains(&last)
        {
            let domain = format!("from 1 to epochs, which is {}", self.epochs);
            return refuse("stop_after", &domain, &last);
        }
        if self.decay_epochs == 0 {
            return refuse("decay_epochs", "at least 1", &0);
        }
        let fraction = self.validation_fraction;
        let domain = "greater than 0 and less than 1";
        check("validation_fraction", fraction, domain, |x| {
            x > 0.0 && x < 1.0
        })
    }

    pub(super) fn check_preset(&self) -> Result<(), Error> {
        let preset = Preset::named(&self.architecture);
        let given = [
            (
                "filters",
                self.filters.as_ref().map(|counts| format!("{counts:?}")),
            ),
            ("hidden", self.hidden.map(|units| units.to_string())),
            (
                "dropout",
                self.dropout.map(|probability| probability.to_string()),
            ),
        ];
        for (name, actual) in given {
            let is_named = preset.is_none()
                && name != "filters"
                && places::names(&self.architecture, name);
            let Some(actual) = actual else {
                if is_named {
                    return refuse(name, "given where the layers name it", &"NULL");
                }
                continue;
            };
            let expected = match preset {
                None if is_named => continue,
                None => format!(
                    "left out when architecture is a list of layers, because it is a key \
                     of the presets; write {} into the layers",
                    match name {
                        "filters" => "conv",
                        "hidden" => "dense(hidden)",
                        _ => "dropout(dropout)",
                    }
                ),
                Some(Preset::Mlp) if name == "filters" => {
                    "left out for the preset 'mlp', which has no convolution".to_owned()
                }
                Some(_) => continue,
            };
            return refuse(name, &expected, &actual);
        }
        match (preset, &self.filters, self.hidden) {
            (None, ..) => parse(&self.layers()).map(|_| ())?,
            (_, Some(counts), _) if counts.is_empty() || counts.contains(&0) => {
                return refuse(
                    "filters",
                    "a list of integers of at least 1",
                    &format!("{counts:?}"),
                );
            }
            (_, _, Some(0)) => return refuse("hidden", "at least 1", &0),
            _ => {}
        }
        if let Some(dropout) = self.dropout {
            let domain = "at least 0 and less than 1";
            check("dropout", dropout, domain, |x| (0.0..1.0).contains(&x))?;
        }
        Ok(())
    }

    pub(super) fn check_regularisation(&self) -> Result<(), Error> {
        let unit = |x: f64| (0.0..1.0).contains(&x);
        for (name, value) in [
            ("label_smoothing", self.label_smoothing),
            ("ema_decay", self.ema_decay),
        ] {
            check(name, value, "at least 0 and less than 1", unit)?;
        }
        let share = |x: f64| (0.0..=1.0).contains(&x);
        check("mixup", self.mixup, "from 0 to 1", share)?;
        match &self.augmentation {
            Some(augmentation) => augmentation.validate(),
            None => Ok(()),
        }
    }
}
