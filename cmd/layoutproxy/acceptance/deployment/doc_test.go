// Package deployment checks the Helm chart and the configuration of releases. It uses the libraries
// of the programs that read these files. Helm's engine renders the chart, and the test decodes the
// result strictly into Kubernetes' types. The library of Pod Security Admission checks the pods.
// goreleaser's loader reads the configuration of releases. Scripts run with programs that the test
// replaces. The tests need no cluster. Only the test with the build tag full, which builds releases,
// may need the network.
//
// The package is a separate module, because these libraries are large and nothing else needs them.
package deployment
