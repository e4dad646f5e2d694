//! Scalar functions: the activation operators, and activations that are spelled out as several operators.
//!
//! A product of two tensors has no node of its own in the graph. Where both sides are functions of one tensor a short way up
//! (see `form`), their product is an activation of that tensor, or a part of one: then a placeholder stands in for it until
//! the rest comes. A placeholder that the result still needs at the end is refused under the name of its node.

use super::attributes::View;
use super::form::{Atom, Form, MAX_DEGREE, Poly, Recognised};
use super::tensor::Constant;
use super::{Importer, Value};
use crate::error::{NnError, shown};
use crate::graph::{Diagonal, Function, NodeId, Op};
use crate::model::SmoothName;

/// Most steps from a tensor up to the one that it is a function of.
const MAX_STEPS: usize = 24;
/// From here on a number stands for infinity (exporters write the largest single).
const HUGE: f64 = 3.4e38;

/// A tensor that is a form of another but not (yet) an activation.
pub(super) struct Pending {
    base: NodeId,
    form: Form,
    pub(super) error: NnError,
}

impl Importer {
    /// Converts an operator that is one function by itself; `None` if it is none.
    pub(super) fn activation(&mut self, view: &View<'_>) -> Result<Option<NodeId>, NnError> {
        let smooth = |name| Function::Smooth(name);
        let function = match view.operator {
            "Relu" => Function::Relu,
            "LeakyRelu" => Function::Leaky { slope: view.float("alpha", 0.01)? },
            "HardSigmoid" => {
                Function::HardSigmoid { alpha: view.float("alpha", 0.2)?, beta: view.float("beta", 0.5)? }
            }
            "HardSwish" => Function::HardSwish,
            "Sigmoid" => smooth(SmoothName::Sigmoid),
            "Tanh" => smooth(SmoothName::Tanh),
            "Softplus" => smooth(SmoothName::Softplus),
            "Exp" => smooth(SmoothName::Exp),
            "Gelu" => match view.string("approximate").unwrap_or("none") {
                "none" => smooth(SmoothName::Gelu),
                "tanh" => smooth(SmoothName::GeluTanh),
                other => return Err(view.unsupported(format!("approximate = {}", shown(other)))),
            },
            "Swish" => return self.swish(view).map(Some),
            "Elu" | "Selu" | "Celu" => return self.elu(view).map(Some),
            "Clip" | "Max" | "Min" => return self.clip(view).map(Some),
            "PRelu" => return self.prelu(view).map(Some),
            "Pow" => return self.pow(view).map(Some),
            "Erf" => return self.erf(view).map(Some),
            "Neg" => {
                let x = self.tensor(view, 0)?;
                return self.affine(&view.name, x, vec![-1.0], vec![0.0]).map(Some);
            }
            _ => return Ok(None),
        };
        let x = self.tensor(view, 0)?;
        self.push(&view.name, Op::Activation(function), &[x]).map(Some)
    }

    /// x·sigmoid(α·x).
    fn swish(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        let alpha = view.float("alpha", 1.0)?;
        if alpha == 0.0 {
            return self.affine(&view.name, x, vec![0.5], vec![0.0]);
        }
        let silu = Function::Smooth(SmoothName::Silu);
        self.composed(&view.name, x, (vec![alpha], vec![0.0]), silu, (vec![1.0 / alpha], vec![0.0]))
    }

    /// The exponential units, by max(x, 0) and the one with α = 1.
    fn elu(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        let (elu, zero) = (Function::Smooth(SmoothName::Elu), || vec![0.0]);
        let (alpha, gamma) = match view.operator {
            "Selu" => {
                (view.float("alpha", 1.673_263_192_176_818_8)?, view.float("gamma", 1.050_701_022_148_132_3)?)
            }
            _ => (view.float("alpha", 1.0)?, 1.0),
        };
        if view.operator == "Celu" {
            if alpha <= 0.0 {
                return Err(view.unsupported(format!("alpha = {alpha}")));
            }
            return self.composed(&view.name, x, (vec![1.0 / alpha], zero()), elu, (vec![alpha], zero()));
        }
        if alpha == 1.0 {
            return self.composed(&view.name, x, (vec![1.0], zero()), elu, (vec![gamma], zero()));
        }
        // α·elu(x) + (1 − α)·max(x, 0) is x above zero and α·(e^x − 1) below.
        let name = |part: &str| format!("{} ({part})", view.name);
        let smooth =
            self.composed(&name("exponential"), x, (vec![1.0], zero()), elu, (vec![gamma * alpha], zero()))?;
        let outer = (vec![gamma * (1.0 - alpha)], zero());
        let line = self.composed(&name("linear"), x, (vec![1.0], zero()), Function::Relu, outer)?;
        self.push(&view.name, Op::Add, &[smooth, line])
    }

    /// Clip, and Max or Min with constants.
    fn clip(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
        let mut x = None;
        if view.operator == "Clip" {
            x = Some(self.tensor(view, 0)?);
            low = view.raw_float("min").unwrap_or(low);
            high = view.raw_float("max").unwrap_or(high);
        }
        for index in usize::from(x.is_some())..view.proto.input.len() {
            let end = match self.input(view, index)? {
                None => continue,
                Some(Value::Constant(c)) => scalar(view, &c)?,
                Some(Value::Node(id)) if x.is_none() => {
                    x = Some(id);
                    continue;
                }
                Some(_) => return Err(view.unsupported("bounds that depend on the network's input")),
            };
            match (view.operator, index) {
                ("Max", _) | ("Clip", 1) => low = low.max(end),
                _ => high = high.min(end),
            }
        }
        let x = x.ok_or_else(|| view.shape("input 0 is missing"))?;
        let low = if low <= -HUGE { f64::NEG_INFINITY } else { low };
        let high = if high >= HUGE { f64::INFINITY } else { high };
        if low > high || low == f64::INFINITY || high == f64::NEG_INFINITY || low.is_nan() || high.is_nan() {
            return Err(view.unsupported(format!("a clip to [{low}, {high}]")));
        }
        let op = match (low, high) {
            (f64::NEG_INFINITY, f64::INFINITY) => Op::Identity,
            (0.0, f64::INFINITY) => Op::Activation(Function::Relu),
            _ => Op::Activation(Function::Clip { low, high }),
        };
        self.push(&view.name, op, &[x])
    }

    fn prelu(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        let slopes = self.required_constant(view, 1)?;
        if slopes.len() == 1 {
            let slope = slopes.to_f64()[0];
            return self.push(&view.name, Op::Activation(Function::Leaky { slope }), &[x]);
        }
        let shape = self.graph.node(x).shape.clone();
        let (per_channel, slopes) = super::binary::spread(view, &shape, &slopes)?;
        self.charge(slopes.len())?;
        let op = Op::Activation(Function::PRelu { slopes });
        if per_channel { self.push(&view.name, op, &[x]) } else { self.flattened(&view.name, op, x) }
    }

    fn pow(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        let exponent = self.required_constant(view, 1)?;
        let exponent = scalar(view, &exponent)?;
        if exponent.fract() != 0.0 || !(1.0..=MAX_DEGREE as f64).contains(&exponent) {
            return Err(view.unsupported(format!(
                "the exponent {exponent}; supported are whole exponents from 1 to {MAX_DEGREE}"
            )));
        }
        if exponent == 1.0 {
            return self.push(&view.name, Op::Identity, &[x]);
        }
        let form = Form::of(Poly::power(exponent as usize));
        self.emit(view, x, form)
    }

    /// Supported only as a part of a GELU.
    fn erf(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        self.emit(view, x, Form::atom(Atom::Erf, Poly::x()))
    }

    /// The product of two tensors.
    pub(super) fn multiply(&mut self, view: &View<'_>, a: NodeId, b: NodeId) -> Result<NodeId, NnError> {
        match self.combined(a, b, Form::times)? {
            Some((base, form)) => self.emit(view, base, form),
            None => Err(view.unsupported(
                "both factors depend on the network's input and are not functions of one tensor that make up an \
                 activation of the list (a polynomial of degree at most 8, x·sigmoid(x), x·hard-sigmoid(x), GELU); \
                 attention and squeeze-and-excitation are not supported: use a variant of the network without them",
            )),
        }
    }

    /// The sum of two tensors, as an activation if that is what it is.
    pub(super) fn sum(&mut self, view: &View<'_>, a: NodeId, b: NodeId) -> Result<NodeId, NnError> {
        if let Some((base, form)) = self.combined(a, b, Form::plus)?
            && (form.is_polynomial() || self.is_pending(a) || self.is_pending(b))
            && (form.recognise().is_some() || !form.is_polynomial())
        {
            return self.emit(view, base, form);
        }
        self.push(&view.name, Op::Add, &[a, b])
    }

    /// scale·x + shift; one number each, or one per channel. Joins what `x` is, where that is affine or polynomial.
    pub(super) fn affine(
        &mut self,
        name: &str,
        x: NodeId,
        scale: Vec<f64>,
        shift: Vec<f64>,
    ) -> Result<NodeId, NnError> {
        let outer = Form::of(Poly::affine(&scale, &shift));
        if let Some((source, step)) = self.step(x)
            && (step.is_polynomial() || self.is_pending(x))
            && let Some(form) = outer.after(&step)
        {
            self.charge(form.size())?;
            if let Some(recognised) = form.recognise() {
                return self.realise(name, source, recognised);
            }
            if !form.is_polynomial() {
                let error = self.pending.get(&x).map(|p| p.error.clone());
                return self.postpone(
                    name,
                    source,
                    form,
                    error.unwrap_or_else(|| NnError::onnx("an unfinished form")),
                );
            }
        }
        self.scale(name, x, scale, shift)
    }

    /// What tensor `id` is in terms of the tensor it is computed from, where that is a form.
    fn step(&self, id: NodeId) -> Option<(NodeId, Form)> {
        if let Some(pending) = self.pending.get(&id) {
            return Some((pending.base, pending.form.clone()));
        }
        let node = self.graph.node(id);
        let source = *node.inputs.first()?;
        let form = match &node.op {
            Op::Identity | Op::Dropout => Form::x(),
            Op::Scale(d) => Form::of(Poly::affine(&d.scale, &d.shift)),
            Op::Activation(Function::Polynomial { coefficients }) => Form::of(Poly::of_rows(coefficients)),
            Op::Activation(Function::Smooth(SmoothName::Sigmoid)) => Form::atom(Atom::Sigmoid, Poly::x()),
            Op::Activation(Function::Smooth(SmoothName::Tanh)) => Form::atom(Atom::Tanh, Poly::x()),
            Op::Activation(Function::HardSigmoid { alpha, beta }) => {
                Form::atom(Atom::Unit, Poly::affine(&[*alpha], &[*beta]))
            }
            // min(max(x, 0), high) = high·min(max(x/high, 0), 1)
            Op::Activation(Function::Clip { low: 0.0, high }) if high.is_finite() && *high > 0.0 => {
                let unit = Form::atom(Atom::Unit, Poly::affine(&[1.0 / high], &[0.0]));
                Form::of(Poly::affine(&[*high], &[0.0])).after(&unit)?
            }
            _ => return None,
        };
        Some((source, form))
    }

    /// The tensors up from `id` that it is a form of, itself first.
    fn chain(&mut self, id: NodeId) -> Result<Vec<(NodeId, Form)>, NnError> {
        let mut chain = vec![(id, Form::x())];
        while chain.len() < MAX_STEPS {
            let (at, form) = &chain[chain.len() - 1];
            let Some((source, step)) = self.step(*at) else { break };
            let Some(next) = form.after(&step) else { break };
            self.charge(next.size() + step.size())?;
            chain.push((source, next));
        }
        Ok(chain)
    }

    /// The nearest tensor of which both are forms that combine, and the combination; rather one that is an activation.
    fn combined(
        &mut self,
        a: NodeId,
        b: NodeId,
        combine: impl Fn(&Form, &Form) -> Option<Form>,
    ) -> Result<Option<(NodeId, Form)>, NnError> {
        if self.graph.node(a).shape != self.graph.node(b).shape {
            return Ok(None);
        }
        let (left, right) = (self.chain(a)?, self.chain(b)?);
        let mut spare = None;
        for (base, form) in &left {
            let Some((_, other)) = right.iter().find(|(id, _)| id == base) else { continue };
            let Some(form) = combine(form, other) else { continue };
            self.charge(form.size())?;
            if form.recognise().is_some() {
                return Ok(Some((*base, form)));
            }
            spare.get_or_insert((*base, form));
        }
        Ok(spare)
    }

    /// Nodes for a form of `base`, or a placeholder.
    fn emit(&mut self, view: &View<'_>, base: NodeId, form: Form) -> Result<NodeId, NnError> {
        match form.recognise() {
            Some(recognised) => self.realise(&view.name, base, recognised),
            None => {
                let error = NnError::UnsupportedOperator {
                    operator: shown(view.operator),
                    node: view.name.clone(),
                    hint:
                        "by itself; it is known only within GELU (0.5·x·(1 + erf(x/√2)) or its tanh form), \
                           x·sigmoid(x), x·hard-sigmoid(x) and polynomials"
                            .into(),
                };
                self.postpone(&view.name, base, form, error)
            }
        }
    }

    fn postpone(&mut self, name: &str, base: NodeId, form: Form, error: NnError) -> Result<NodeId, NnError> {
        let id = self.push(name, Op::Identity, &[base])?;
        self.pending.insert(id, Pending { base, form, error });
        Ok(id)
    }

    fn is_pending(&self, id: NodeId) -> bool {
        self.pending.contains_key(&id)
    }

    fn realise(&mut self, name: &str, base: NodeId, recognised: Recognised) -> Result<NodeId, NnError> {
        match recognised {
            Recognised::Affine((scale, shift)) => self.scale(name, base, scale, shift),
            Recognised::Polynomial(coefficients) => {
                self.charge(coefficients.iter().map(Vec::len).sum())?;
                self.push(name, Op::Activation(Function::Polynomial { coefficients }), &[base])
            }
            Recognised::Composed { inner, function, outer } => {
                self.composed(name, base, inner, function, outer)
            }
        }
    }

    /// outer(function(inner(x))).
    fn composed(
        &mut self,
        name: &str,
        x: NodeId,
        inner: super::form::Affine,
        function: Function,
        outer: super::form::Affine,
    ) -> Result<NodeId, NnError> {
        let x = self.scale(&format!("{name} (argument)"), x, inner.0, inner.1)?;
        let y = self.push(name, Op::Activation(function), &[x])?;
        self.scale(&format!("{name} (scaled)"), y, outer.0, outer.1)
    }

    /// A node for scale·x + shift, unless that is x.
    pub(super) fn scale(
        &mut self,
        name: &str,
        x: NodeId,
        scale: Vec<f64>,
        shift: Vec<f64>,
    ) -> Result<NodeId, NnError> {
        if scale.iter().all(|&v| v == 1.0) && shift.iter().all(|&v| v == 0.0) {
            return Ok(x);
        }
        let shape = self.graph.node(x).shape.clone();
        let channels = match shape[..] {
            [1, channels, ..] => channels,
            _ => shape.iter().product(),
        };
        self.charge(2 * channels)?;
        let all = |v: Vec<f64>| if v.len() == 1 { vec![v[0]; channels] } else { v };
        let op = Op::Scale(Diagonal { scale: all(scale), shift: all(shift) });
        match shape[..] {
            [1, _, ..] => self.push(name, op, &[x]),
            _ => self.flattened(name, op, x),
        }
    }

    /// An op per channel, applied with every element seen as a channel.
    pub(super) fn flattened(&mut self, name: &str, op: Op, x: NodeId) -> Result<NodeId, NnError> {
        let shape = self.graph.node(x).shape.clone();
        let flat = self.reshape(&format!("{name} (flattened)"), x, vec![1, shape.iter().product()])?;
        let done = self.push(name, op, &[flat])?;
        self.reshape(&format!("{name} (restored)"), done, shape)
    }
}

/// A constant with one element.
pub(super) fn scalar(view: &View<'_>, constant: &Constant) -> Result<f64, NnError> {
    let values = constant.to_f64();
    match values.split_first() {
        Some((&first, rest)) if rest.iter().all(|&v| v == first) => Ok(first),
        _ => Err(view.unsupported("a constant that is not one number for the whole tensor")),
    }
}
