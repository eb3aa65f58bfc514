//! What the tests on a real cluster share: the real kubectl and helm, an installed operator, pods, the node's files and the
//! kernel's audit records.
//!
//! The tests need a kubeconfig and the names of two images, and nothing else of the cluster:
//!
//! | variable | meaning |
//! |---|---|
//! | `E2E_KUBECONFIG` | the cluster; never the current context of whoever runs this |
//! | `E2E_OPERATOR_IMAGE` | the operator's image, with both of its binaries, present on every node |
//! | `E2E_TOOLS_IMAGE` | an image with bash and GNU coreutils, present on every node |
//! | `E2E_CLUSTER` | the command of a cluster without Docker, `e2e/cluster/cluster`; only what is done to machines needs it |
//! | `E2E_OLDER_IMAGE` | the operator's image as it was, present on every node; without it an upgrade is one of the chart alone |
//! | `KUBECTL`, `HELM` | the commands; default `kubectl` and `helm` |

pub mod admission;
pub mod audit;
pub mod cel;
pub mod cluster;
pub mod command;
pub mod machines;
pub mod metrics;
pub mod node;
pub mod pods;
pub mod shell;
pub mod table;
pub mod watch;
