package pruning

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer/prune"
)

// DefaultGrace is how long running pulls have to complete after a prune.
const DefaultGrace = 15 * time.Minute

// policyFile is the content of a policy file. Its keys are the names of the flags of prune.
type policyFile struct {
	prune.Policy `yaml:",inline"`
	Grace        *time.Duration `yaml:"grace"`
	Repack       bool           `yaml:"repack"`
}

// maxPolicy is the longest policy file that is read, in bytes.
const maxPolicy = 1 << 20

// ReadPolicy reads a policy file.
func ReadPolicy(name string) (prune.Request, error) {
	f, err := os.Open(name)
	if err != nil {
		return prune.Request{}, exit.UsageError(fmt.Errorf("--prune-policy: %w", err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPolicy))
	var file policyFile
	if err == nil {
		d := yaml.NewDecoder(bytes.NewReader(data))
		d.KnownFields(true)
		if err = d.Decode(&file); errors.Is(err, io.EOF) {
			err = nil // no rule, which Check reports
		}
	}
	r := prune.Request{Policy: file.Policy, Grace: DefaultGrace, Repack: file.Repack}
	if file.Grace != nil {
		r.Grace = *file.Grace
	}
	if err == nil && r.Grace < 0 {
		err = fmt.Errorf("grace %s: not a positive duration", r.Grace)
	}
	if err == nil {
		err = r.Policy.Check()
	}
	if err == nil {
		err = r.Policy.ReadBundles()
	}
	if err != nil {
		return r, exit.UsageError(exit.WithHint(fmt.Errorf("--prune-policy %s: %w", name, err), "its keys are the flags of layoutproxy prune, one per line: keep-newest: 2"))
	}
	return r, nil
}
