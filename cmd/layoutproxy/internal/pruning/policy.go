package pruning

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// DefaultGrace is how long, by default, running pulls can still be completed after a prune.
const DefaultGrace = 15 * time.Minute

// policyFile is the content of a policy file. Its keys are the names of the flags of layoutproxy
// prune.
type policyFile struct {
	prune.Policy `yaml:",inline"`
	Grace        *string `yaml:"grace"` // a duration, but yaml.v3 refuses 0 without a unit, which the flag accepts
	Repack       bool    `yaml:"repack"`
}

// maxPolicy is the size of the largest policy file that is read, in bytes.
const maxPolicy = 1 << 20

// ReadPolicy reads a policy file, and the inventories that are listed under its key keep-bundle.
func ReadPolicy(name string) (prune.Request, error) {
	data, err := plainfile.Read(name, maxPolicy)
	if err != nil {
		return prune.Request{}, exit.UsageError(fmt.Errorf("--prune-policy: %w", err))
	}
	r, err := parsePolicy(data)
	if err == nil {
		err = r.Policy.ReadBundles()
	}
	if err != nil {
		return r, exit.UsageError(exit.WithHint(fmt.Errorf("--prune-policy %s: %w", name, err), "the keys of the file are the flags of layoutproxy prune, one per line, such as keep-newest: 2"))
	}
	return r, nil
}

func parsePolicy(data []byte) (prune.Request, error) {
	var file policyFile
	var second yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	// A file with only comments has no rule. Check reports that.
	if err := d.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return prune.Request{}, err
	}
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		return prune.Request{}, errors.New("the file has a second YAML document: only one policy is allowed")
	}
	r := prune.Request{Policy: file.Policy, Grace: DefaultGrace, Repack: file.Repack}
	if file.Grace != nil {
		var err error
		if r.Grace, err = time.ParseDuration(*file.Grace); err != nil {
			return r, fmt.Errorf("grace: %w", err)
		}
	}
	if r.Grace < 0 {
		return r, fmt.Errorf("grace %s: must not be negative", r.Grace)
	}
	return r, r.Policy.Check()
}
