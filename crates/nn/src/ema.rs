//! An exponential moving average of everything that training changes.

use crate::network::Network;

/// The average of a network's weights and statistics over its steps.
///
/// As in TensorFlow (`tf.train.ExponentialMovingAverage` with `num_updates`) the decay of
/// step `n`, counted from 1, is at most `(1 + n) / (10 + n)`, so that the initial weights
/// are soon forgotten. As in timm (`ModelEmaV3`) the statistics of batch norms are
/// averaged with the weights that they belong to.
pub(crate) struct Average {
    decay: f64,
    pub(crate) steps: usize,
    pub(crate) values: Vec<f32>,
    /// The network's own values while it has the average's.
    own: Vec<f32>,
}

impl Average {
    pub(crate) fn new(decay: f64, network: &Network) -> Self {
        let mut values = vec![0.0; network.saved_len()];
        network.save(&mut values);
        Self {
            decay,
            steps: 0,
            own: vec![0.0; values.len()],
            values,
        }
    }

    /// Folds the current weights into the average. The training loop calls it once after
    /// each step.
    pub(crate) fn update(&mut self, network: &Network) {
        self.steps += 1;
        let steps = self.steps as f64;
        let decay = self.decay.min((1.0 + steps) / (10.0 + steps));
        let share = (1.0 - decay) as f32;
        let mut rest = self.values.as_mut_slice();
        for part in network.saved_parts() {
            let (values, after) = rest.split_at_mut(part.len());
            for (value, new) in values.iter_mut().zip(part) {
                *value += share * (new - *value);
            }
            rest = after;
        }
    }

    /// Puts the average into the network, so that it is validated and exported with it.
    /// [`Average::leave`] has to follow before the next step.
    pub(crate) fn enter(&mut self, network: &mut Network) {
        network.save(&mut self.own);
        network.restore(&self.values);
    }

    /// Puts the network's own weights back, with which training goes on.
    pub(crate) fn leave(&self, network: &mut Network) {
        network.restore(&self.own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hyperparameters, ImageShape};

    fn network() -> Network {
        let shape = ImageShape {
            height: 2,
            width: 2,
            channels: 1,
        };
        let hyperparameters = Hyperparameters {
            architecture: "batch_norm, dense(2)".to_owned(),
            ..Hyperparameters::default()
        };
        Network::new(hyperparameters.plan(shape, 2).unwrap(), 1, 1).unwrap()
    }

    // >>> import tensorflow as tf
    // >>> v = tf.Variable(0.0)
    // >>> ema = tf.train.ExponentialMovingAverage(0.5, num_updates=tf.Variable(0))
    // >>> ema.apply([v])
    // >>> for n in (1, 2, 3, 4):   # with num_updates n: decays 2/11, 3/12, 4/13, 5/14
    // ...     v.assign(n); ema.apply([v])
    // >>> ema.average(v).numpy()
    #[test]
    fn the_first_steps_count_more() {
        let mut network = network();
        network.set_weights(|_| 0.0);
        let mut average = Average::new(0.5, &network);
        let mut expected = 0.0_f64;
        for step in 1..=4_u32 {
            network.set_weights(|_| step as f32);
            average.update(&network);
            let decay = f64::from(1 + step) / f64::from(10 + step);
            expected = decay * expected + (1.0 - decay) * f64::from(step);
        }
        assert!((f64::from(average.values[0]) - expected).abs() < 1e-6);
        // From here on the decay is the one that was asked for.
        average.steps = 1_000;
        let before = average.values[0];
        network.set_weights(|_| 9.0);
        average.update(&network);
        assert!((average.values[0] - (before + 9.0) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn the_network_gets_its_own_weights_back() {
        let mut network = network();
        let mut average = Average::new(0.9, &network);
        network.set_weights(|index| index as f32);
        average.update(&network);
        let own = network.logits(&[1, 2, 3, 4]).unwrap();
        average.enter(&mut network);
        assert_ne!(network.logits(&[1, 2, 3, 4]).unwrap(), own);
        average.leave(&mut network);
        assert_eq!(network.logits(&[1, 2, 3, 4]).unwrap(), own);
    }

    #[test]
    fn statistics_are_averaged_too() {
        let mut network = network();
        let mut average = Average::new(0.9, &network);
        let before = average.values.clone();
        network.images_mut(1).fill(0.5);
        network.forward(1, crate::layers::PassMode::Training);
        average.update(&network);
        let weights = network.weights().len();
        assert_eq!(average.values[..weights], before[..weights]);
        assert_ne!(average.values[weights..], before[weights..]);
    }
}
