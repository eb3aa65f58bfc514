//! What the chart promises, asked of the real helm: no cluster is needed, and none is touched.
//!
//! `HELM` names the helm to run (default: the one on `PATH`). Without one every test here fails: a chart that nobody rendered
//! is not a chart that was tested.

mod audit;
mod ceiling;
mod definitions;
mod engines;
mod helm;
mod helm_test;
mod injection;
mod monitoring;
mod names;
mod notes;
mod objects;
mod own_node;
mod recorder;
mod rights;
mod sources;
mod uninstall;
mod values;
mod webhooks;
mod whole;
mod workloads;
