package deployment

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	disruption "k8s.io/api/policy/v1"
	yaml "sigs.k8s.io/yaml"
)

const chartDir = "../../../../deploy/helm/layoutproxy"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(chartDir)
	must(t, err)
	must(t, c.Validate())
	return c
}

// kubernetes is the Kubernetes version for which render renders the chart.
const kubernetes = "v1.34.0"

// render renders the chart as `helm install mirror` does. values, in YAML, override the defaults,
// and must match the schema of the chart.
func render(t *testing.T, values string) (map[string]string, error) {
	t.Helper()
	return renderFor(t, kubernetes, values)
}

func renderFor(t *testing.T, version, values string) (map[string]string, error) {
	t.Helper()
	cluster := chartutil.DefaultCapabilities.Copy()
	parsed, err := chartutil.ParseKubeVersion(version)
	must(t, err)
	cluster.KubeVersion = *parsed
	c := load(t)
	given, err := chartutil.ReadValues([]byte(values))
	must(t, err)
	all, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{
		Name: "mirror", Namespace: "registry", Revision: 1, IsInstall: true,
	}, cluster)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.Render(c, all)
}

// objects renders the chart and decodes each Kubernetes object into its Go type. Unknown and
// duplicate fields are errors.
func objects(t *testing.T, values string) []runtime.Object {
	t.Helper()
	files, err := render(t, values)
	must(t, err)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		apps.AddToScheme, core.AddToScheme, networking.AddToScheme, disruption.AddToScheme, monitoring.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var all []runtime.Object
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for document := range strings.SplitSeq(files[name], "\n---\n") {
			var content any
			if err := yaml.UnmarshalStrict([]byte(document), &content); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, document)
			}
			if content == nil {
				continue
			}
			object, _, err := decoder.Decode([]byte(document), nil, nil)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, document)
			}
			all = append(all, object)
		}
	}
	return all
}

// one returns the only object of type T. It fails the test if there is no such object, or several.
func one[T runtime.Object](t *testing.T, all []runtime.Object) T {
	t.Helper()
	var found []T
	for _, object := range all {
		if o, ok := object.(T); ok {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("got %d objects of type %T, want 1", len(found), *new(T))
	}
	return found[0]
}

// none fails the test if there is an object of type T.
func none[T runtime.Object](t *testing.T, all []runtime.Object) {
	t.Helper()
	for _, object := range all {
		if _, ok := object.(T); ok {
			t.Errorf("the chart renders an object of type %T, want none", object)
		}
	}
}
