package volume

import (
	"fmt"
	"sync"
	"testing"
)

// While a background job saves an index with all documents, other goroutines may read documents, as the page of
// the admin address does. The job must still find all documents. If both used one map, the runtime would end the
// process.
func TestDocumentsAreReadWhileTheyAreSaved(t *testing.T) {
	var d documents
	for range 20 {
		texts := map[string]string{}
		for i := range 2000 {
			texts[fmt.Sprint("modules/", i)] = "{}"
		}
		d.set(texts)
		all := d.all()
		var wait sync.WaitGroup
		wait.Go(func() {
			for i := range 2000 {
				d.take(fmt.Sprint("modules/", i))
			}
		})
		var e encoder
		for layout := range all {
			e.text(all[layout])
		}
		wait.Wait()
		if len(all) != 2000 {
			t.Fatalf("the job found %d documents, want 2000", len(all))
		}
	}
}
