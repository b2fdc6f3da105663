// Package deployment checks the files in deploy and the configuration of releases, with the
// libraries of the programs that read them. Helm's engine renders the chart, which is strictly
// decoded into Kubernetes' types; Kubernetes' pod security policy checks the pods; goreleaser's
// loader reads its configuration. It needs neither the network nor a cluster.
//
// It is a separate module, because these libraries are large and nothing else needs them.
package deployment
