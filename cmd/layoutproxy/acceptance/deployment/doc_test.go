// Package deployment checks the files in deploy and the configuration of releases. It uses the
// libraries of the programs that read these files. Helm's engine renders the chart, and the test
// decodes the result strictly into Kubernetes' types. The library of Pod Security Admission checks
// the pods. goreleaser's loader reads the configuration of releases. The tests need neither the
// network nor a cluster.
//
// The package is a separate module, because these libraries are large and nothing else needs them.
package deployment
