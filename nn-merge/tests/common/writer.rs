//! Writes small ONNX models, operator by operator.

use std::cell::RefCell;

use nn_merge::evaluate::run_f64;
use nn_merge::onnx::import;
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

/// A model under construction: nodes in a row, each reading the one before.
pub(crate) struct Onnx {
    pub(crate) graph: GraphProto,
    pub(crate) opset: i64,
    pub(crate) last: String,
}

pub(crate) fn info(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dim = |&side: &i64| match side {
        0 => Dimension { dim_param: Some("N".into()), ..Default::default() },
        side => Dimension { dim_value: Some(side), ..Default::default() },
    };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor = TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape: Some(shape) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { tensor_type: Some(tensor), ..Default::default() }),
    }
}

pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let kind = Some(AttributeType::INTS);
    AttributeProto { name: Some(name.into()), ints: values.to_vec(), r#type: kind, ..Default::default() }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        i: Some(value),
        r#type: Some(AttributeType::INT),
        ..Default::default()
    }
}

pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    let kind = Some(AttributeType::STRING);
    AttributeProto { name: Some(name.into()), s: Some(value.into()), r#type: kind, ..Default::default() }
}

pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    let kind = Some(AttributeType::FLOAT);
    AttributeProto { name: Some(name.into()), f: Some(value), r#type: kind, ..Default::default() }
}

impl Onnx {
    pub(crate) fn new(input: &[i64]) -> Self {
        let graph = GraphProto { input: vec![info("x", input)], ..Default::default() };
        Self { graph, opset: 13, last: "x".into() }
    }

    pub(crate) fn weight(mut self, name: &str, dims: &[i64], values: impl Fn(usize) -> f32) -> Self {
        let count = dims.iter().product::<i64>() as usize;
        let raw = (0..count).flat_map(|i| values(i).to_le_bytes()).collect();
        self.graph.initializer.push(TensorProto {
            name: Some(name.into()),
            dims: dims.to_vec(),
            data_type: Some(DataType::FLOAT),
            raw_data: Some(RefCell::new(raw)),
            ..Default::default()
        });
        self
    }

    pub(crate) fn integers(mut self, name: &str, values: &[i64]) -> Self {
        self.graph.initializer.push(TensorProto {
            name: Some(name.into()),
            dims: vec![values.len() as i64],
            data_type: Some(DataType::INT64),
            int64_data: values.to_vec(),
            ..Default::default()
        });
        self
    }

    /// A constant with one element and no axis.
    pub(crate) fn scalar(self, name: &str, value: f32) -> Self {
        self.weight(name, &[], |_| value)
    }

    pub(crate) fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    /// A node with several outputs "NAME0", "NAME1", ...; the first is the last output.
    pub(crate) fn node_of(
        mut self,
        operator: &str,
        inputs: &[&str],
        (name, outputs): (&str, usize),
        attributes: Vec<AttributeProto>,
    ) -> Self {
        self = self.node(operator, inputs, attributes);
        if let Some(node) = self.graph.node.last_mut() {
            node.output = (0..outputs).map(|i| format!("{name}{i}")).collect();
        }
        self.last = format!("{name}0");
        self
    }

    pub(crate) fn graph(self) -> nn_merge::Graph {
        import(&self.bytes()).unwrap_or_else(|e| panic!("{e}"))
    }

    /// A node whose inputs are given by name; "_" stands for the last output.
    pub(crate) fn node(mut self, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> Self {
        let output = format!("t{}", self.graph.node.len());
        let input = inputs.iter().map(|&i| if i == "_" { self.last.clone() } else { i.into() }).collect();
        self.graph.node.push(NodeProto {
            name: Some(format!("node {output}")),
            op_type: Some(operator.into()),
            input,
            output: vec![output.clone()],
            attribute: attributes,
            ..Default::default()
        });
        self.last = output;
        self
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.graph.output = vec![info(&self.last, &[1])];
        let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(self.opset) };
        let model = ModelProto {
            ir_version: Some(7),
            graph: Some(self.graph),
            opset_import: vec![opset],
            ..Default::default()
        };
        model.write_buf().expect("plain data")
    }

    pub(crate) fn run(self, input: &[f64]) -> Vec<f64> {
        let graph = import(&self.bytes()).unwrap_or_else(|e| panic!("{e}"));
        run_f64(&graph, input).expect("right length")
    }

    pub(crate) fn error(self) -> String {
        import(&self.bytes()).expect_err("must be refused").to_string()
    }
}

/// Some whole numbers from -5 to 5.
pub(crate) fn ramp(n: usize) -> Vec<f64> {
    (0..n).map(|i| (i * 7 % 11) as f64 - 5.0).collect()
}
