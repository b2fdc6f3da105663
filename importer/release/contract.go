package release

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"github.com/Masterminds/semver/v3"
)

// ContractAnnotation is the annotation that contains the contract of a plugin.
const ContractAnnotation = "contract"

// Contract lists what a plugin of the d8 command line requires. The zero value requires nothing.
type Contract struct {
	Requirements struct {
		Deckhouse struct {
			Constraint string `json:"constraint"`
		} `json:"deckhouse"`
		Modules struct {
			Mandatory   []Requirement `json:"mandatory"`
			Conditional []Requirement `json:"conditional"`
			AnyOf       []Group       `json:"anyOf"`
			NoneOf      []Group       `json:"noneOf"`
		} `json:"modules"`
		Plugins struct {
			Mandatory   []Requirement `json:"mandatory"`
			Conditional []Requirement `json:"conditional"`
		} `json:"plugins"`
	} `json:"requirements"`
}

// Requirement is a required module or plugin. If the constraint is empty, any version fits.
type Requirement struct {
	Name       string `json:"name"`
	Constraint string `json:"constraint"`
}

// Group is a list of modules. If it is empty, the group means the module that has the group's name.
type Group struct {
	Name       string        `json:"name"`
	Constraint string        `json:"constraint"`
	Modules    []Requirement `json:"modules"`
}

// Members returns the modules of a group, with their constraints.
func (g Group) Members() []Requirement {
	if len(g.Modules) == 0 {
		return []Requirement{{g.Name, g.Constraint}}
	}
	return g.Modules
}

// ParseContract parses the annotation of a plugin. An empty annotation requires nothing.
func ParseContract(annotation string) (c Contract, err error) {
	if annotation == "" {
		return c, nil
	}
	data, err := base64.StdEncoding.DecodeString(annotation)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return Contract{}, fmt.Errorf("malformed contract: %w", err)
	}
	return c, nil
}

// RequirementOf returns what the contract requires of a module: the mandatory requirement, or else the
// first one in an anyOf group. It returns false if there is neither.
func (c *Contract) RequirementOf(module string) (Requirement, bool) {
	all := slices.Clone(c.Requirements.Modules.Mandatory)
	for _, g := range c.Requirements.Modules.AnyOf {
		all = append(all, g.Members()...)
	}
	i := slices.IndexFunc(all, func(r Requirement) bool { return r.Name == module })
	if i < 0 {
		return Requirement{}, false
	}
	return all[i], true
}

// preview matches the suffix of a preview such as rc.1. A preview satisfies only constraints that
// contain a preview. Other suffixes are build marks, which Fits ignores.
var preview = regexp.MustCompile(`^(alpha|beta|rc)`)

// Fits reports whether a version satisfies the constraint of the requirement.
func (r Requirement) Fits(v *semver.Version) (bool, error) {
	if r.Constraint == "" {
		return true, nil
	}
	c, err := semver.NewConstraint(r.Constraint)
	if err != nil {
		return false, fmt.Errorf("malformed constraint %q of %s", r.Constraint, r.Name)
	}
	if v.Prerelease() != "" && !preview.MatchString(v.Prerelease()) {
		v = semver.New(v.Major(), v.Minor(), v.Patch(), "", "")
	}
	return c.Check(v), nil
}

// FitsAny reports whether at least one version satisfies the constraint of the requirement.
func (r Requirement) FitsAny(all []Release) (bool, error) {
	for _, v := range all {
		if ok, err := r.Fits(v.Version); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (r Requirement) String() string {
	if r.Constraint == "" {
		return r.Name
	}
	return r.Name + " " + r.Constraint
}
