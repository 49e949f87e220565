//! The grammar of an architecture text: `layer(value, name: value), layer, ...`.

use super::{Activation, LayerSpec, Padding, Preset, WrittenLayer};
use crate::Error;
use crate::error::{did_you_mean, nearest};

/// The name of a layer, its arguments in order, and how many of them it needs.
struct Form {
    name: &'static str,
    arguments: &'static [&'static str],
    required: usize,
    usage: &'static str,
}

const fn form(
    name: &'static str,
    arguments: &'static [&'static str],
    required: usize,
    usage: &'static str,
) -> Form {
    Form {
        name,
        arguments,
        required,
        usage,
    }
}

const CONV: &[&str] = &["filters", "kernel", "stride", "padding", "groups"];
const CONV1D: &[&str] = &["filters", "kernel", "stride", "padding"];
const DEPTHWISE: &[&str] = &["kernel", "stride", "padding"];
const POOL: &[&str] = &["size", "stride"];

const FORMS: &[Form] = &[
    form(
        "conv",
        CONV,
        2,
        "conv(filters, kernel [, stride: 1] [, padding: same|valid] [, groups: 1])",
    ),
    form(
        "depthwise_conv",
        DEPTHWISE,
        1,
        "depthwise_conv(kernel [, stride: 1] [, padding: same|valid])",
    ),
    form("max_pool", POOL, 1, "max_pool(size [, stride: size])"),
    form("avg_pool", POOL, 1, "avg_pool(size [, stride: size])"),
    form(
        "conv1d",
        CONV1D,
        2,
        "conv1d(filters, kernel [, stride: 1] [, padding: same|valid])",
    ),
    form("max_pool1d", POOL, 1, "max_pool1d(size [, stride: size])"),
    form("global_avg_pool", &[], 0, "global_avg_pool"),
    form("patches", &["size", "units"], 2, "patches(size, units)"),
    form("tokens", &["units"], 1, "tokens(units)"),
    form("positions", &[], 0, "positions"),
    form("attention", &["heads"], 1, "attention(heads)"),
    form("layer_norm", &[], 0, "layer_norm"),
    form("batch_norm", &[], 0, "batch_norm"),
    form("dropout", &["probability"], 1, "dropout(probability)"),
    form("relu", &[], 0, "relu"),
    form("tanh", &[], 0, "tanh"),
    form("sigmoid", &[], 0, "sigmoid"),
    form("gelu", &[], 0, "gelu"),
    form("silu", &[], 0, "silu"),
    form("leaky_relu", &[], 0, "leaky_relu"),
    form("flatten", &[], 0, "flatten"),
    form("residual", &[], 0, "residual(layer, ...)"),
    form("dense", &["units"], 1, "dense(units)"),
];

/// No layer takes more arguments than this.
const MAX_ARGUMENTS: usize = 5;

/// Residual blocks in residual blocks are fewer than this.
const MAX_DEPTH: usize = 8;

/// Counts above this are certainly slips, and would overflow sizes.
const MAX_COUNT: usize = 1_000_000;

/// Reads an architecture text.
pub(crate) fn parse(text: &str) -> Result<Vec<WrittenLayer>, Error> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    parser.layers()
}

/// Reads an architecture text byte by byte, and knows the place for errors.
struct Parser<'a> {
    text: &'a str,
    /// The byte that is read next.
    at: usize,
    /// How many residual blocks are open.
    depth: usize,
}

impl<'a> Parser<'a> {
    /// Reads layers up to the end, or to that of a block.
    fn layers(&mut self) -> Result<Vec<WrittenLayer>, Error> {
        let mut layers = Vec::new();
        loop {
            layers.push(self.layer()?);
            match self.peek() {
                None if self.depth == 0 => return Ok(layers),
                Some(')') if self.depth > 0 => return Ok(layers),
                Some(',') => self.at += 1,
                other => {
                    let wanted = match self.depth {
                        0 => "expected a comma or the end",
                        _ => "expected ',' or ')'",
                    };
                    let got = other.map_or_else(String::new, |c| format!(", got '{c}'"));
                    return Err(self.error(self.at, &format!("{wanted}{got}")));
                }
            }
        }
    }

    /// Reads `(layer, layer, ...)`.
    fn block(&mut self, start: usize) -> Result<Vec<WrittenLayer>, Error> {
        if self.peek() != Some('(') {
            return Err(self.error(start, "write residual(layer, ...)"));
        }
        if self.depth == MAX_DEPTH {
            let problem = format!("more than {MAX_DEPTH} blocks in each other");
            return Err(self.error(start, &problem));
        }
        self.at += 1;
        self.depth += 1;
        let body = self.layers()?;
        self.depth -= 1;
        self.at += 1;
        Ok(body)
    }

    fn layer(&mut self) -> Result<WrittenLayer, Error> {
        let (start, name) = self.word();
        let position = self.column(start);
        if name.is_empty() {
            return Err(self.error(start, "expected a layer, such as conv(32, 5)"));
        }
        let Some(form) = FORMS.iter().find(|form| form.name == name) else {
            return Err(self.unknown(start, name));
        };
        if form.name == "residual" {
            return Ok(WrittenLayer {
                spec: LayerSpec::Residual,
                position,
                body: self.block(start)?,
            });
        }
        let mut arguments = [None; MAX_ARGUMENTS];
        if self.peek() == Some('(') {
            self.at += 1;
            self.arguments(form, &mut arguments)?;
        }
        let given = arguments.iter().take(form.required).flatten().count();
        if given < form.required {
            return Err(self.error(start, &format!("write {}", form.usage)));
        }
        let spec = self.spec(form, &arguments)?;
        Ok(WrittenLayer {
            spec,
            position,
            body: Vec::new(),
        })
    }

    fn unknown(&self, start: usize, name: &str) -> Error {
        let names = FORMS.iter().map(|form| form.name).chain(Preset::NAMES);
        let hint = did_you_mean(nearest(name, names));
        let valid = FORMS
            .iter()
            .map(|form| form.name)
            .collect::<Vec<_>>()
            .join(", ");
        self.error(
            start,
            &format!(
                "unknown layer '{name}'{hint}; layers: {valid}; presets, which stand \
                 alone: {}",
                Preset::NAMES.join(", ")
            ),
        )
    }

    /// Reads `value, name: value)`.
    fn arguments(
        &mut self,
        form: &Form,
        arguments: &mut [Option<(usize, &'a str)>; MAX_ARGUMENTS],
    ) -> Result<(), Error> {
        for position in 0.. {
            if position == 0 && self.peek() == Some(')') {
                break;
            }
            let (mut start, mut value) = self.word();
            let mut index = position;
            if self.peek() == Some(':') {
                self.at += 1;
                let known = form.arguments.iter().position(|name| *name == value);
                index = known.unwrap_or(MAX_ARGUMENTS);
                (start, value) = self.word();
            }
            if value.is_empty() || index >= form.arguments.len() {
                return Err(self.error(start, &format!("write {}", form.usage)));
            }
            if arguments[index].replace((start, value)).is_some() {
                let name = form.arguments[index];
                return Err(self.error(start, &format!("{name} is given twice")));
            }
            match self.peek() {
                Some(',') => self.at += 1,
                Some(')') => break,
                _ => return Err(self.error(self.at, "expected ',' or ')'")),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn spec(
        &self,
        form: &Form,
        arguments: &[Option<(usize, &'a str)>; MAX_ARGUMENTS],
    ) -> Result<LayerSpec, Error> {
        let count = |index: usize| self.count(form.arguments[index], arguments[index]);
        let pool = || -> Result<(usize, usize), Error> {
            let size = count(0)?.unwrap_or(1);
            Ok((size, count(1)?.unwrap_or(size)))
        };
        Ok(match form.name {
            "conv" => LayerSpec::Conv {
                filters: count(0)?.unwrap_or(1),
                kernel: count(1)?.unwrap_or(1),
                stride: count(2)?.unwrap_or(1),
                padding: self.padding(arguments[3])?,
                groups: count(4)?.unwrap_or(1),
            },
            "depthwise_conv" => LayerSpec::DepthwiseConv {
                kernel: count(0)?.unwrap_or(1),
                stride: count(1)?.unwrap_or(1),
                padding: self.padding(arguments[2])?,
            },
            "max_pool" => {
                pool().map(|(size, stride)| LayerSpec::MaxPool { size, stride })?
            }
            "avg_pool" => {
                pool().map(|(size, stride)| LayerSpec::AvgPool { size, stride })?
            }
            "conv1d" => LayerSpec::Conv1d {
                filters: count(0)?.unwrap_or(1),
                kernel: count(1)?.unwrap_or(1),
                stride: count(2)?.unwrap_or(1),
                padding: self.padding(arguments[3])?,
            },
            "max_pool1d" => {
                pool().map(|(size, stride)| LayerSpec::MaxPool1d { size, stride })?
            }
            "patches" => LayerSpec::Patches {
                size: count(0)?.unwrap_or(1),
                units: count(1)?.unwrap_or(1),
            },
            "tokens" => LayerSpec::Tokens {
                units: count(0)?.unwrap_or(1),
            },
            "positions" => LayerSpec::Positions,
            "attention" => LayerSpec::Attention {
                heads: count(0)?.unwrap_or(1),
            },
            "layer_norm" => LayerSpec::LayerNorm,
            "global_avg_pool" => LayerSpec::GlobalAvgPool,
            "batch_norm" => LayerSpec::BatchNorm,
            "dropout" => LayerSpec::Dropout {
                probability: self.probability(arguments[0])?,
            },
            "relu" => LayerSpec::Activation(Activation::Relu),
            "tanh" => LayerSpec::Activation(Activation::Tanh),
            "sigmoid" => LayerSpec::Activation(Activation::Sigmoid),
            "gelu" => LayerSpec::Activation(Activation::Gelu),
            "silu" => LayerSpec::Activation(Activation::Silu),
            "leaky_relu" => LayerSpec::Activation(Activation::LeakyRelu),
            "flatten" => LayerSpec::Flatten,
            _ => LayerSpec::Dense {
                units: count(0)?.unwrap_or(1),
            },
        })
    }

    fn count(
        &self,
        name: &str,
        argument: Option<(usize, &str)>,
    ) -> Result<Option<usize>, Error> {
        let Some((start, value)) = argument else {
            return Ok(None);
        };
        match value.parse() {
            Ok(count) if (1..=MAX_COUNT).contains(&count) => Ok(Some(count)),
            _ => Err(self.error(
                start,
                &format!(
                    "{name} must be an integer from 1 to {MAX_COUNT}, got '{value}'"
                ),
            )),
        }
    }

    fn probability(&self, argument: Option<(usize, &str)>) -> Result<f32, Error> {
        let (start, value) = argument.unwrap_or((self.at, ""));
        match value.parse() {
            Ok(probability) if (0.0..1.0).contains(&probability) => Ok(probability),
            _ => Err(self.error(
                start,
                &format!("the probability must be from 0 to below 1, got '{value}'"),
            )),
        }
    }

    fn padding(&self, argument: Option<(usize, &str)>) -> Result<Padding, Error> {
        match argument {
            None | Some((_, "same")) => Ok(Padding::Same),
            Some((_, "valid")) => Ok(Padding::Valid),
            Some((start, other)) => Err(self.error(
                start,
                &format!("padding must be same or valid, got '{other}'"),
            )),
        }
    }

    /// A name or a number, and the byte where it starts; empty if there is none.
    fn word(&mut self) -> (usize, &'a str) {
        self.peek();
        let start = self.at;
        let rest = &self.text[start..];
        let stops = |c: char| !(c.is_alphanumeric() || "_.+-".contains(c));
        self.at += rest.find(stops).unwrap_or(rest.len());
        (start, &self.text[start..self.at])
    }

    /// The next character after white space, which is skipped.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed.chars().next()
    }

    fn column(&self, byte: usize) -> usize {
        self.text[..byte].chars().count() + 1
    }

    fn error(&self, byte: usize, problem: &str) -> Error {
        let column = self.column(byte);
        let problem = format!("{problem}, at position {column} of '{}'", self.text);
        Error::Architecture { problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[LayerSpec]) {
        let layers = parse(text).unwrap();
        let specs: Vec<_> = layers.iter().map(|layer| layer.spec).collect();
        assert_eq!(specs, expected, "{text}");
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = parse(text).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("architecture: {expected}")),
            "{error}"
        );
    }

    fn conv(filters: usize, kernel: usize, stride: usize, padding: Padding) -> LayerSpec {
        LayerSpec::Conv {
            filters,
            kernel,
            stride,
            padding,
            groups: 1,
        }
    }

    #[test]
    fn arguments_by_position_and_by_name() {
        let expected = [conv(8, 3, 2, Padding::Valid)];
        check("conv(8, 3, 2, valid)", &expected);
        check("conv(8, 3, stride: 2, padding: valid)", &expected);
        check(
            "conv( kernel:3,filters :8, padding: valid, stride: 2 )",
            &expected,
        );
        check("conv(8, 3)", &[conv(8, 3, 1, Padding::Same)]);
        let expected = LayerSpec::Conv {
            filters: 8,
            kernel: 3,
            stride: 1,
            padding: Padding::Same,
            groups: 4,
        };
        check("conv(8, 3, groups: 4)", &[expected]);
        let expected = LayerSpec::DepthwiseConv {
            kernel: 3,
            stride: 2,
            padding: Padding::Same,
        };
        check("depthwise_conv(3, stride: 2)", &[expected]);
    }

    #[test]
    fn every_layer_has_a_form() {
        check(
            "max_pool(2), avg_pool(3, stride: 2), global_avg_pool(), dropout(.5)",
            &[
                LayerSpec::MaxPool { size: 2, stride: 2 },
                LayerSpec::AvgPool { size: 3, stride: 2 },
                LayerSpec::GlobalAvgPool,
                LayerSpec::Dropout { probability: 0.5 },
            ],
        );
        for form in FORMS.iter().filter(|form| form.required == 0) {
            let layers = parse(&form.usage.replace("layer, ...", "relu")).unwrap();
            assert_eq!(layers[0].spec.name(), form.name);
        }
    }

    #[test]
    fn an_unknown_layer_is_located_and_a_near_one_suggested() {
        check_refused(
            "conv(8, 3), cnov(8, 3)",
            "unknown layer 'cnov', did you mean 'conv'?",
        );
        let error = parse("conv(8, 3), cnov(8, 3)").unwrap_err().to_string();
        assert!(error.contains("at position 13 of"), "{error}");
        check_refused("lenett", "unknown layer 'lenett', did you mean 'lenet'?");
    }

    #[test]
    fn what_is_not_the_grammar_is_refused() {
        check_refused("", "expected a layer");
        check_refused("relu,", "expected a layer");
        check_refused("relu relu", "expected a comma or the end, got 'r'");
        check_refused("dense(10", "expected ',' or ')'");
        check_refused("dense", "write dense(units)");
        check_refused("dense(10, 20)", "write dense(units)");
        check_refused("relu(1)", "write relu");
        check_refused("conv(8, kernel: )", "write conv(filters, kernel");
        check_refused("conv(8, filters: 8)", "filters is given twice");
        check_refused("conv(8, 3, depth: 2)", "write conv(filters, kernel");
        check_refused("dense(10))", "expected a comma or the end, got ')'");
        check_refused("größe(1)", "unknown layer 'größe'");
    }

    #[test]
    fn values_outside_their_domain_are_refused() {
        check_refused(
            "dense(0)",
            "units must be an integer from 1 to 1000000, got '0'",
        );
        check_refused(
            "conv(8, -3)",
            "kernel must be an integer from 1 to 1000000, got '-3'",
        );
        check_refused(
            "dropout(1)",
            "the probability must be from 0 to below 1, got '1'",
        );
        check_refused("dropout(nan)", "the probability must be from 0 to below 1");
        check_refused(
            "conv(8, 3, padding: full)",
            "padding must be same or valid, got 'full'",
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-z_(),:. 0-9é-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
