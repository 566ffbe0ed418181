/** A 3D structure coloured by activation, drawn by 3Dmol.js. */
import { useEffect, useRef, useState } from "preact/hooks";
import { ramp } from "./colour";
import { load3dmol, loadStructure } from "./data";

/** A colour as 3Dmol.js takes it without parsing: 0xRRGGBB. */
const asNumber = (colour: string) => colour.match(/\d+/g)!.reduce((sum, part) => 256 * sum + Number(part), 0);

export function Structure({ number, values }: { number: number; values: number[] }) {
  const box = useRef<HTMLDivElement>(null);
  const [problem, tell] = useState("");
  useEffect(() => {
    let viewer: any;
    Promise.all([load3dmol(), loadStructure(number)]).then(([library, structure]) => {
      if (!box.current) return;
      box.current.replaceChildren();
      viewer = library.createViewer(box.current, { backgroundColor: getComputedStyle(document.body).backgroundColor });
      viewer.addModel(structure.text, structure.format === "cif" ? "mmcif" : "pdb");
      viewer.setStyle({}, { cartoon: { colorfunc: (atom: { resi: number }) => asNumber(ramp(values[atom.resi - 1] ?? 0)) } });
      viewer.zoomTo();
      viewer.render();
      tell("");
    }).catch((error) => tell(`The structure cannot be drawn: ${error.message}`));
    return () => viewer?.clear?.();
  }, [number, values]);
  return <div class="structure"><div ref={box} class="viewer" role="img" aria-label="Structure coloured by activation" />{problem ? <p class="problem">{problem}</p> : null}</div>;
}
