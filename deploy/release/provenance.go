package main

import (
	"encoding/json"
	"runtime"
)

// statement is an in-toto statement (https://in-toto.io/Statement/v1) with SLSA provenance
// (https://slsa.dev/spec/v1.0/provenance). It leaves out the time and the number of the build, so
// that all builds of a commit give the same bytes.
type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     predicate  `json:"predicate"`
}

type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

type predicate struct {
	BuildDefinition struct {
		BuildType            string            `json:"buildType"`
		ExternalParameters   map[string]string `json:"externalParameters"`
		InternalParameters   map[string]string `json:"internalParameters"`
		ResolvedDependencies []resource        `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
	} `json:"runDetails"`
}

// provenance returns a statement that says how, and from which sources, the files in subject were
// built. sums are the checksums of go.mod and go.sum, which list all modules.
func provenance(r release, subject, sums []resource, goreleaser, builder string) ([]byte, error) {
	s := statement{Type: "https://in-toto.io/Statement/v1", Subject: subject, PredicateType: "https://slsa.dev/provenance/v1"}
	d := &s.Predicate.BuildDefinition
	d.BuildType = repository + "/blob/main/docs/release.md"
	d.ExternalParameters = map[string]string{"repository": repository, "ref": r.Ref, "version": r.Version}
	d.InternalParameters = map[string]string{"go": runtime.Version(), "goreleaser": goreleaser, "sourceDateEpoch": r.Date.UTC().Format("2006-01-02T15:04:05Z")}
	source := resource{URI: "git+" + repository + "@" + r.Ref, Digest: map[string]string{"gitCommit": r.Commit}}
	d.ResolvedDependencies = append([]resource{source}, sums...)
	s.Predicate.RunDetails.Builder.ID = builder
	data, err := json.MarshalIndent(s, "", "  ")
	return append(data, '\n'), err
}
