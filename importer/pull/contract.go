package pull

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"github.com/Masterminds/semver/v3"
)

// annotationContract is the annotation in which a plugin keeps its contract.
const annotationContract = "contract"

// contract says what a plugin of the command line needs. The zero value needs nothing.
type contract struct {
	Requirements struct {
		Deckhouse struct {
			Constraint string `json:"constraint"`
		} `json:"deckhouse"`
		Modules struct {
			Mandatory   []requirement `json:"mandatory"`
			Conditional []requirement `json:"conditional"`
			AnyOf       []group       `json:"anyOf"`
			NoneOf      []group       `json:"noneOf"`
		} `json:"modules"`
		Plugins struct {
			Mandatory   []requirement `json:"mandatory"`
			Conditional []requirement `json:"conditional"`
		} `json:"plugins"`
	} `json:"requirements"`
}

// requirement is a module or plugin, of versions that fit a constraint; of any version
// where that is empty.
type requirement struct {
	Name       string `json:"name"`
	Constraint string `json:"constraint"`
}

// group is a list of modules. Where it has none, it stands for the module of its name.
type group struct {
	requirement
	Modules []requirement `json:"modules"`
}

func (g group) members() []requirement {
	if len(g.Modules) == 0 {
		return []requirement{g.requirement}
	}
	return g.Modules
}

// parseContract reads the annotation of a plugin; without one it needs nothing.
func parseContract(annotation string) (c contract, err error) {
	if annotation == "" {
		return c, nil
	}
	data, err := base64.StdEncoding.DecodeString(annotation)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return contract{}, fmt.Errorf("malformed contract: %w", err)
	}
	return c, nil
}

// requirementOf is what a contract requires of a module: by a mandatory entry, else by
// one of a group.
func (c *contract) requirementOf(module string) (requirement, bool) {
	all := slices.Clone(c.Requirements.Modules.Mandatory)
	for _, g := range c.Requirements.Modules.AnyOf {
		all = append(all, g.members()...)
	}
	i := slices.IndexFunc(all, func(r requirement) bool { return r.Name == module })
	if i < 0 {
		return requirement{}, false
	}
	return all[i], true
}

// genuine are previews that a constraint has to name. Other suffixes are marks of a
// build.
var genuine = regexp.MustCompile(`^(alpha|beta|rc)`)

// fits reports whether a version fits a constraint.
func (r requirement) fits(v *semver.Version) (bool, error) {
	if r.Constraint == "" {
		return true, nil
	}
	c, err := semver.NewConstraint(r.Constraint)
	if err != nil {
		return false, fmt.Errorf("malformed constraint %q of %s", r.Constraint, r.Name)
	}
	if v.Prerelease() != "" && !genuine.MatchString(v.Prerelease()) {
		v = semver.New(v.Major(), v.Minor(), v.Patch(), "", "")
	}
	return c.Check(v), nil
}

// anyFits reports whether at least one of the versions fits.
func (r requirement) anyFits(all []release) (bool, error) {
	for _, v := range all {
		if ok, err := r.fits(v.version); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (r requirement) String() string {
	if r.Constraint == "" {
		return r.Name
	}
	return r.Name + " " + r.Constraint
}

// bundled is what a bundle has of the things that a contract can require.
type bundled struct {
	platform []release
	modules  map[string][]release
}

// rejects is why a bundle does not satisfy a contract; empty if it does. What only a
// cluster can tell does not count: Kubernetes, modules that must not be there, and what
// is required under a condition. Nor does the platform where the bundle has none.
func (b *bundled) rejects(c *contract) string {
	modules := &c.Requirements.Modules
	for _, r := range modules.Mandatory {
		ok, err := r.anyFits(b.modules[r.Name])
		if err != nil {
			return err.Error()
		}
		if !ok {
			return fmt.Sprintf("requires module %s, and the bundle has %s", r, tagsOf(b.modules[r.Name]))
		}
	}
	for _, g := range modules.AnyOf {
		fits := false
		for _, r := range g.members() {
			ok, err := r.anyFits(b.modules[r.Name])
			if err != nil {
				return err.Error()
			}
			fits = fits || ok
		}
		if !fits {
			return fmt.Sprintf("requires one of the modules of %q, and the bundle has none that fits", g.Name)
		}
	}
	platform := requirement{"Deckhouse", c.Requirements.Deckhouse.Constraint}
	ok, err := platform.anyFits(b.platform)
	if err != nil {
		return err.Error()
	}
	if !ok && len(b.platform) > 0 && platform.Constraint != "" {
		return fmt.Sprintf("requires %s, and the bundle has %s", platform, tagsOf(b.platform))
	}
	return ""
}

// conflicts are what a cluster may refuse a plugin for.
func (b *bundled) conflicts(c *contract) (all []string) {
	for _, g := range c.Requirements.Modules.NoneOf {
		for _, r := range g.members() {
			if ok, err := r.anyFits(b.modules[r.Name]); ok && err == nil {
				all = append(all, fmt.Sprintf("it conflicts with module %s, and the bundle has %s", r, tagsOf(b.modules[r.Name])))
			}
		}
	}
	for _, r := range c.Requirements.Modules.Conditional {
		if have := b.modules[r.Name]; len(have) > 0 {
			if ok, err := r.anyFits(have); !ok || err != nil {
				all = append(all, fmt.Sprintf("where there is module %s, it requires %s, and the bundle has %s", r.Name, r, tagsOf(have)))
			}
		}
	}
	return all
}

func tagsOf(all []release) string {
	if len(all) == 0 {
		return "none"
	}
	s := all[0].tag
	for _, r := range all[1:] {
		s += ", " + r.tag
	}
	return s
}
