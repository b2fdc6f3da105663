// Package deployment checks the files in deploy and those that releases are made with, with
// the libraries of those who read it: the chart is rendered by Helm's own engine and
// decoded, strictly, into the types of Kubernetes; Kubernetes' own policy judges its
// pods; goreleaser's own loader reads its file. Nothing of it needs the network or a
// cluster.
//
// It is a module of its own, as these libraries are large and nobody else needs them.
package deployment
